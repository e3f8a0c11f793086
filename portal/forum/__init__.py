"""The forum bot: topics of a Discourse forum, drafts of answers, the queue where people review them, posting."""
