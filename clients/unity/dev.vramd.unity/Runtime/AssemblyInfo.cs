using System.Runtime.CompilerServices;

[assembly: InternalsVisibleTo("Vramd.Unity.Editor")]
[assembly: InternalsVisibleTo("Vramd.Unity.Tests.Runtime")]
[assembly: InternalsVisibleTo("Vramd.Unity.Tests.Editor")]
