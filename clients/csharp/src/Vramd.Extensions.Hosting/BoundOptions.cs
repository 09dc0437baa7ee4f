using System;
using Microsoft.Extensions.Configuration;
using Microsoft.Extensions.DependencyInjection;
using Microsoft.Extensions.Options;

namespace Vramd;

/// <summary>Takes options from the program's configuration, if it has one. The compiler writes the binding.</summary>
internal sealed class BoundOptions : IConfigureOptions<VramdOptions>, IConfigureOptions<VramdSupervisorOptions>
{
    private readonly IConfiguration? _configuration;

    public BoundOptions(IServiceProvider services) => _configuration = services.GetService<IConfiguration>();

    public void Configure(VramdOptions options) => _configuration?.GetSection(VramdOptions.Section).Bind(options);

    public void Configure(VramdSupervisorOptions options) =>
        _configuration?.GetSection(VramdSupervisorOptions.Section).Bind(options);
}
