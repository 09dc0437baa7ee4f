using System;
using System.Collections.Generic;
using Vramd;

// Prints the same whether it is compiled by the runtime or ahead of time: tests/csharp.py compares both.
var error = new PromptTooLongException(
    Reasons.PromptTooLarge, "the prompt does not fit",
    new Dictionary<string, string> { ["promptTokens"] = "3000", ["contextTokens"] = "2048" });
Console.WriteLine($"error: {error.GetType().Name} {error.Reason} {error.PromptTokens} {error.ContextTokens} {error.Bytes}");
