#nullable enable
using UnityEngine;

namespace Vramd.Unity
{
    /// <summary>A string that is the id of a model: the inspector offers those that the supervisor knows.</summary>
    public sealed class VramdModelAttribute : PropertyAttribute
    {
    }
}
