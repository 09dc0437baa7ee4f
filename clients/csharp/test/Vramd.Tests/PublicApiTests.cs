using System;
using System.Collections.Generic;
using System.IO;
using System.Linq;
using System.Reflection;
using Xunit;

namespace Vramd.Tests;

/// <summary>The packages below may be replaced or renamed without a change of a program that uses the client.</summary>
public sealed class PublicApiTests
{
    private const BindingFlags Declared = BindingFlags.Public | BindingFlags.NonPublic | BindingFlags.Instance
        | BindingFlags.Static | BindingFlags.DeclaredOnly;

    /// <summary>The names of what is shipped and lies beside the tests.</summary>
    public static TheoryData<string> Shipped { get; } =
    [
        .. Directory.GetFiles(AppContext.BaseDirectory, "Vramd.*.dll")
            .Select(file => Path.GetFileNameWithoutExtension(file)!)
            .Where(name => name is "Vramd.Client" || name.StartsWith("Vramd.Extensions.", StringComparison.Ordinal)),
    ];

    [Theory]
    [MemberData(nameof(Shipped))]
    public void No_type_of_protobuf_or_grpc_is_in_the_public_api(string assembly) =>
        Assert.Empty(Foreign(Assembly.Load(assembly)));

    [Fact]
    public void The_generated_types_of_the_wire_are_internal()
    {
        var assembly = typeof(VramdException).Assembly;
        Assert.NotNull(assembly.GetType("Vramd.V1.GetStatusRequest"));
        Assert.DoesNotContain(assembly.GetExportedTypes(), type => type.Namespace != "Vramd");
    }

    [Fact]
    public void A_type_of_grpc_would_be_found_wherever_it_is_used()
    {
        var found = string.Join('\n', Foreign(typeof(Grpc.Net.Client.GrpcChannel).Assembly));
        Assert.Contains("GrpcChannel: base Grpc.Core.ChannelBase", found);
        Assert.Contains("GrpcChannel.CreateCallInvoker: Grpc.Core.CallInvoker", found);
        Assert.Contains("GrpcChannelOptions.CompressionProviders: ", found);
    }

    private static IEnumerable<string> Foreign(Assembly assembly) =>
        from type in assembly.GetExportedTypes()
        from use in Uses(type)
        from part in Parts(use.Type)
        where part.Namespace?.Split('.')[0] is "Google" or "Grpc"
        select $"{type.Name}{use.Place} {part.FullName}";

    private static IEnumerable<(string Place, Type Type)> Uses(Type type)
    {
        if (type.BaseType is { } above)
        {
            yield return (": base", above);
        }
        foreach (var one in type.GetInterfaces())
        {
            yield return (": interface", one);
        }
        foreach (var member in type.GetMembers(Declared))
        {
            foreach (var one in Uses(member))
            {
                yield return ($".{member.Name}:", one);
            }
        }
    }

    /// <summary>The types that a caller or a derived class sees of a member.</summary>
    private static IEnumerable<Type> Uses(MemberInfo member) => member switch
    {
        MethodBase method when Seen(method) => method.GetParameters().Select(one => one.ParameterType)
            .Concat(method is MethodInfo info ? [info.ReturnType] : [])
            .Concat(method.IsGenericMethod ? method.GetGenericArguments().SelectMany(Constraints) : []),
        PropertyInfo property when property.GetAccessors(true).Any(Seen) => [property.PropertyType],
        FieldInfo field when field.IsPublic || field.IsFamily || field.IsFamilyOrAssembly => [field.FieldType],
        EventInfo { AddMethod: { } add } told when Seen(add) => [told.EventHandlerType!],
        _ => [],
    };

    private static bool Seen(MethodBase method) => method.IsPublic || method.IsFamily || method.IsFamilyOrAssembly;

    private static Type[] Constraints(Type parameter) => parameter.GetGenericParameterConstraints();

    /// <summary>A type, and those that it is made of.</summary>
    private static IEnumerable<Type> Parts(Type type)
    {
        yield return type;
        var inner = type.HasElementType ? [type.GetElementType()!] : type.GetGenericArguments();
        foreach (var part in inner.Where(one => !one.IsGenericParameter).SelectMany(Parts))
        {
            yield return part;
        }
    }
}
