using System.Runtime.CompilerServices;

[assembly: InternalsVisibleTo("Vramd.Unity.Tests.Editor")]
