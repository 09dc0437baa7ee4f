using System;
using Microsoft.Extensions.Configuration;
using Microsoft.Extensions.DependencyInjection;
using Microsoft.Extensions.DependencyInjection.Extensions;
using Microsoft.Extensions.Hosting;
using Microsoft.Extensions.Options;

namespace Vramd;

/// <summary>vramd as a service of a program.</summary>
public static class VramdServiceCollectionExtensions
{
    /// <summary>
    /// Adds a <see cref="VramdClient"/> as a singleton. It is made without a call, and looks for the supervisor at its
    /// first one, so the supervisor may start later.
    /// </summary>
    /// <remarks>
    /// Its options come from the section <c>Vramd</c> of the configuration, if the program has one, and from
    /// <paramref name="configure"/> over that.
    /// </remarks>
    /// <param name="services">The services of the program.</param>
    /// <param name="configure">Changes the options.</param>
    public static IServiceCollection AddVramd(this IServiceCollection services, Action<VramdOptions>? configure = null)
    {
        services.TryAddEnumerable(ServiceDescriptor.Singleton<IConfigureOptions<VramdOptions>, BoundOptions>());
        services.Configure(configure ?? (static _ => { }));
        services.TryAddSingleton(Client);
        return services;
    }

    /// <summary>
    /// Adds a supervisor that lives as long as the host, and a <see cref="VramdClient"/> for it, see
    /// <see cref="AddVramd"/>. It answers before any service of the host starts, and ends after all have stopped.
    /// </summary>
    /// <remarks>
    /// Its options come from the section <c>Vramd:Supervisor</c> of the configuration, if the program has one, and from
    /// <paramref name="configure"/> over that. A start that fails ends the start of the host with
    /// <see cref="StartFailedException"/>. One that ends by itself is logged as an error; calls say then that nothing
    /// answers.
    /// </remarks>
    /// <param name="services">The services of the program.</param>
    /// <param name="configure">Changes the options.</param>
    public static IServiceCollection AddVramdSupervisor(
        this IServiceCollection services, Action<VramdSupervisorOptions>? configure = null)
    {
        services.AddVramd();
        services.TryAddEnumerable(
            ServiceDescriptor.Singleton<IConfigureOptions<VramdSupervisorOptions>, BoundOptions>());
        services.Configure(configure ?? (static _ => { }));
        services.TryAddSingleton<HostedSupervisor>();
        services.TryAddEnumerable(ServiceDescriptor.Singleton<IHostedService, HostedSupervisor>(
            static provider => provider.GetRequiredService<HostedSupervisor>()));
        return services;
    }

    private static VramdClient Client(IServiceProvider provider)
    {
        var options = provider.GetRequiredService<IOptions<VramdOptions>>().Value;
        var hosted = provider.GetService<HostedSupervisor>();
        return VramdClient.FoundLater(() => hosted?.Endpoint ?? options.Endpoint, options.Client);
    }
}
