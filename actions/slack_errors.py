"""What the words mean that Slack answers, and what to do."""

from __future__ import annotations

HINTS = {
    "channel_not_found": "there is no such channel, or the bot cannot see it",
    "not_in_channel": "invite the bot to the channel",
    "is_archived": "the channel is archived",
    "channel_is_archived": "the channel is archived",
    "invalid_auth": "the token is wrong",
    "not_authed": "the token is missing",
    "account_inactive": "the token belongs to a deleted user or workspace",
    "token_revoked": "the token was revoked",
    "missing_scope": "give the bot the scope chat:write",
    "no_service": "the webhook was removed or its app disabled; make a new one",
    "no_team": "the webhook's workspace is gone",
    "action_prohibited": "an admin of the workspace forbids it",
    "posting_to_general_channel_denied": "an admin restricts that channel",
    "invalid_payload": "Slack could not read the message; look at blocks",
    "invalid_blocks": "Slack could not read blocks; try them in its Block Kit Builder",
    "no_text": "the message is empty",
    "msg_too_long": "the text is longer than Slack takes",
}
