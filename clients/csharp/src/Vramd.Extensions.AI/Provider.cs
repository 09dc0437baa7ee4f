using System;

namespace Vramd;

/// <summary>What the adapters have in common.</summary>
internal static class Provider
{
    /// <summary>What metadata call vramd.</summary>
    internal const string Name = "vramd";

    /// <summary>
    /// The place of the supervisor; null where none is known: it starts later, or the client is one that a test made.
    /// </summary>
    internal static Uri? Uri(VramdClient client)
    {
        try
        {
            return new Uri($"http://{client.Address}");
        }
        catch (Exception error) when (error is SupervisorNotFoundException or InvalidOperationException)
        {
            return null;
        }
    }

    /// <summary>The adapter or its client, where one is asked for.</summary>
    internal static object? Service(object adapter, VramdClient client, Type serviceType, object? serviceKey)
    {
        NotNull(serviceType, nameof(serviceType));
        return serviceKey is not null ? null
            : serviceType.IsInstanceOfType(adapter) ? adapter
            : serviceType.IsInstanceOfType(client) ? client
            : null;
    }

    internal static void NotNull(object? argument, string name)
    {
        if (argument is null)
        {
            throw new ArgumentNullException(name);
        }
    }
}
