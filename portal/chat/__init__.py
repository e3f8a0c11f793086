"""Conversations with the assistant: questions, streamed answers, feedback."""
