using System;
using NUnit.Framework;
using UnityEngine;

namespace Vramd.Unity.Tests
{
    /// <summary>What holds without a supervisor.</summary>
    public sealed class ChatTests
    {
        [Test]
        public void AChatThatIsNotEnabledAsksNothing()
        {
            var chat = new GameObject("chat").AddComponent<VramdChat>();
            chat.enabled = false;
            var asked = chat.ChatAsync("x");
            Assert.That(asked.IsCanceled, Is.True);
            Assert.That(chat.History.Count, Is.EqualTo(0));
        }

        [Test]
        public void VectorsOfOneDirectionAreAlike()
        {
            Assert.That(VramdEmbedder.Similarity(new[] { 1f, 2f }, new[] { 2f, 4f }), Is.EqualTo(1f).Within(1e-6f));
            Assert.That(VramdEmbedder.Similarity(new[] { 1f, 0f }, new[] { 0f, 1f }), Is.EqualTo(0f).Within(1e-6f));
            Assert.That(
                () => VramdEmbedder.Similarity(new[] { 1f }, new[] { 1f, 2f }), Throws.TypeOf<ArgumentException>());
        }
    }
}
