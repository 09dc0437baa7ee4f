using System;
using System.Collections.Generic;
using System.Linq;
using System.Threading;
using System.Threading.Tasks;
using Microsoft.Extensions.AI;
using Xunit;

namespace Vramd.Tests.Extensions;

/// <summary>What becomes of a request to an IChatClient, and of the answer.</summary>
public sealed class ChatClientTests
{
    private static readonly ChatMessage[] Question = [new(ChatRole.User, "Hi")];

    public static TheoryData<string, ChatOptions> Refused => new()
    {
        { "tools (ChatOptions.Tools: now)", new() { Tools = [AIFunctionFactory.Create(() => 1, "now")] } },
        { "tools (ChatOptions.ToolMode)", new() { ToolMode = ChatToolMode.RequireAny } },
        { "JSON formats", new() { ResponseFormat = ChatResponseFormat.Json } },
        { "ChatOptions.Reasoning", new() { Reasoning = new() } },
        { "ChatOptions.ConversationId", new() { ConversationId = "1" } },
        { "the additional property num_ctx", new() { AdditionalProperties = new() { ["num_ctx"] = 1 } } },
    };

    [Theory]
    [MemberData(nameof(Refused), DisableDiscoveryEnumeration = true)]
    public async Task What_vramd_cannot_do_is_refused_by_name(string what, ChatOptions options)
    {
        var chat = new RecordedClient().AsIChatClient("talker");
        Assert.Contains(what, Assert.Throws<NotSupportedException>(
            () => chat.GetStreamingResponseAsync(Question, options)).Message);
        Assert.Contains(what, (await Assert.ThrowsAsync<NotSupportedException>(
            () => chat.GetResponseAsync(Question, options))).Message);
    }

    [Fact]
    public async Task Content_that_is_no_text_is_refused_by_name()
    {
        var chat = new RecordedClient().AsIChatClient("talker");
        AIContent[] picture = [new TextContent("See:"), new DataContent(new byte[1], "image/png")];
        var error = await Assert.ThrowsAsync<NotSupportedException>(
            () => chat.GetResponseAsync(new ChatMessage(ChatRole.User, picture)));
        Assert.Contains("DataContent", error.Message);
    }

    [Fact]
    public async Task Options_that_change_nothing_are_taken()
    {
        var client = new RecordedClient();
        ChatOptions options = new()
        {
            ResponseFormat = ChatResponseFormat.Text, ToolMode = ChatToolMode.Auto, Tools = [],
        };
        await client.AsIChatClient("talker").GetResponseAsync(Question, options);
        Assert.Equal(new AnswerSettings(), client.Settings);
    }

    [Fact]
    public async Task Every_option_arrives_over_the_defaults()
    {
        var client = new RecordedClient();
        var chat = client.AsIChatClient("talker", new() { Temperature = 1, TopK = 7, ContextTokens = 1024 });
        await chat.GetResponseAsync(Question, new()
        {
            ModelId = "task:code",
            Temperature = 0.5f,
            TopP = 0.75f,
            Seed = uint.MaxValue,
            FrequencyPenalty = 0.25f,
            PresencePenalty = -1,
            MaxOutputTokens = 12,
            StopSequences = ["\n"],
        });
        Assert.Equal("task:code", client.Model);
        var settings = Assert.IsType<AnswerSettings>(client.Settings);
        Assert.Equal(["\n"], settings.Stop);
        Assert.Equal(
            new AnswerSettings
            {
                Temperature = 0.5f,
                TopP = 0.75f,
                TopK = 7,
                Seed = uint.MaxValue,
                FrequencyPenalty = 0.25f,
                PresencePenalty = -1,
                MaxTokens = 12,
                ContextTokens = 1024,
            },
            settings with { Stop = null });
    }

    [Fact]
    public async Task Settings_of_the_raw_representation_take_the_place_of_the_defaults()
    {
        var client = new RecordedClient();
        var chat = client.AsIChatClient("talker", new() { TopK = 7 });
        AnswerSettings raw = new() { MinP = 0.5f, Temperature = 1 };
        await chat.GetResponseAsync(Question, new() { RawRepresentationFactory = _ => raw, Temperature = 0 });
        Assert.Equal(raw with { Temperature = 0 }, client.Settings);
    }

    [Fact]
    public async Task A_seed_that_vramd_does_not_have_is_out_of_range()
    {
        var chat = new RecordedClient().AsIChatClient("talker");
        var error = await Assert.ThrowsAsync<InvalidRequestException>(
            () => chat.GetResponseAsync(Question, new() { Seed = -1 }));
        Assert.Equal("seed", error.Field);
    }

    [Fact]
    public async Task A_conversation_arrives_with_its_roles_behind_the_instructions()
    {
        var client = new RecordedClient();
        ChatMessage[] messages =
        [
            new(ChatRole.System, "Be kind."),
            new(ChatRole.User, [new TextContent("Do you "), new TextContent("hear?")]),
            new(ChatRole.Assistant, [new TextContent("Yes."), new UsageContent(new())]),
            new(ChatRole.Assistant, [new UsageContent(new())]),
            new(new ChatRole("narrator"), "Rain."),
        ];
        await client.AsIChatClient("talker").GetResponseAsync(messages, new() { Instructions = "Be brief." });
        Assert.Equal(
            [
                Turn.System("Be brief."), Turn.System("Be kind."), Turn.User("Do you hear?"), Turn.Assistant("Yes."),
                new Turn("narrator", "Rain."),
            ],
            client.Conversation);
    }

    [Fact]
    public async Task The_last_update_has_the_end_and_the_model_that_answered()
    {
        var client = new RecordedClient
        {
            Deltas =
            [
                new() { Text = "Yes", TokenIds = [1] },
                new() { TokenIds = [2] },
                new()
                {
                    Text = ".",
                    Finish = new()
                    {
                        Reason = FinishReason.Length,
                        Usage = new() { PromptTokens = 3, CompletionTokens = 2, CachedPromptTokens = 1 },
                        Timeline = new() { Model = "coder" },
                    },
                },
            ],
        };
        var chat = client.AsIChatClient("task:code");
        List<ChatResponseUpdate> updates = [];
        await foreach (var update in chat.GetStreamingResponseAsync(Question))
        {
            updates.Add(update);
        }

        Assert.Equal(["Yes", "", "."], updates.Select(static one => one.Text));
        Assert.Equal([null, null, ChatFinishReason.Length], updates.Select(static one => one.FinishReason));
        Assert.Same(client.Deltas[1], updates[1].RawRepresentation);
        var whole = await chat.GetResponseAsync(Question);
        Assert.Equal("Yes.", whole.Text);
        Assert.Equal(ChatFinishReason.Length, whole.FinishReason);
        Assert.Equal("coder", whole.ModelId);
        var usage = whole.Usage!;
        Assert.Equal((3, 2, 5), (usage.InputTokenCount, usage.OutputTokenCount, usage.TotalTokenCount));
        Assert.Equal(1, usage.CachedInputTokenCount);
        Assert.Same(client.Deltas[2], whole.RawRepresentation);
        Assert.Equal("Yes.", Assert.IsType<TextContent>(Assert.Single(Assert.Single(whole.Messages).Contents)).Text);
    }

    [Fact]
    public void It_gives_its_client_and_its_metadata()
    {
        var client = new RecordedClient();
        var chat = client.AsIChatClient("talker");
        Assert.Same(client, chat.GetService(typeof(VramdClient)));
        Assert.Same(chat, chat.GetService(typeof(IChatClient)));
        Assert.Null(chat.GetService(typeof(VramdClient), "key"));
        Assert.Null(chat.GetService(typeof(string)));
        var metadata = chat.GetService<ChatClientMetadata>()!;
        Assert.Equal(("vramd", "talker"), (metadata.ProviderName, metadata.DefaultModelId));
    }
}
