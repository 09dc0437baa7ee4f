#nullable enable
using System;

// NUnit 3.5, as Unity has it.
namespace NUnit.Framework
{
    public sealed class TestAttribute : Attribute
    {
    }

    public static class Assert
    {
        public static void That(object? actual, Constraints.IResolveConstraint expression) =>
            throw new NotSupportedException();

        public static void That(Func<object?> code, Constraints.IResolveConstraint expression) =>
            throw new NotSupportedException();
    }

    public static class Is
    {
        public static Constraints.Constraint True => throw new NotSupportedException();

        public static Constraints.EqualConstraint EqualTo(object? expected) => throw new NotSupportedException();
    }

    public static class Does
    {
        public static Constraints.Constraint Contain(string expected) => throw new NotSupportedException();
    }

    public static class Throws
    {
        public static Constraints.Constraint TypeOf<T>() => throw new NotSupportedException();
    }
}

namespace NUnit.Framework.Constraints
{
    public interface IResolveConstraint
    {
    }

    public class Constraint : IResolveConstraint
    {
    }

    public class EqualConstraint : Constraint
    {
        public EqualConstraint Within(object amount) => throw new NotSupportedException();
    }
}
