"""Account tickets: roles, recovery of a locked account, and exports."""

from __future__ import annotations

from guardsteer.demo.corpus.kinds import Kind, by_key

__all__ = ["ACCOUNT"]

_SPACES = ("design space", "sales space", "finance space", "training space", "research space", "events space")
_ACCOUNTS = ("personal account", "work account", "school account", "family account", "studio account")

_ROLE = Kind(
    "role",
    "account",
    by_key(
        viewer="open and read files",
        commenter="add comments",
        editor="change and save files",
        manager="invite and remove members",
        admin="set roles and billing",
        owner="transfer or close the space",
    ),
    _SPACES,
    (
        "I just joined the {context}.",
        "It is about the {context}.",
        "I work in the {context}.",
        "My team uses the {context}.",
        "They added me to the {context}.",
        "I am new in the {context}.",
        "Something changed in the {context}.",
        "I opened the {context} today.",
    ),
    (
        "I am {a_key}. What am I allowed to do?",
        "What can {a_key} do?",
        "They made me {a_key}. Which rights do I have now?",
        "Tell me what {a_key} may do.",
        "I have the {key} role. What is possible with it?",
        "My role changed to {key}. What can I do with that?",
        "Which things are allowed for {a_key}?",
        "My role is {key}. What does that allow?",
        "I became {a_key}. Which rights come with that?",
    ),
    (
        "I am {a_key} in the {context}. What am I allowed to do?",
        "What can {a_key} do in the {context}?",
        "They made me {a_key} of the {context}. Which rights do I have now?",
        "[Please tell me|Tell me] what {a_key} may do. I just joined the {context}.",
        "I have the {key} role in the {context}. What is possible with it?",
        "My role in the {context} changed to {key}. What can I do with that?",
        "Which things are allowed for {a_key} in the {context}?",
    ),
    (
        "They made me {a_key} in the {context} today. What does that allow?",
        "Which rights come with the {key} role in the {context}?",
    ),
    (
        "{a_key} can {value} in the {context}.",
        "In the {context}, {a_key} can {value}.",
        "As {a_key}, you can {value}.",
        "The {key} role lets you {value} in the {context}.",
    ),
)

_RECOVERY = Kind(
    "recovery",
    "account",
    by_key(
        email_link="15 minutes",
        text_code="5 minutes",
        backup_code="1 minute",
        phone_call="30 minutes",
        identity_form="3 days",
        recovery_contact="12 hours",
    ),
    _ACCOUNTS,
    (
        "I am locked out of my {context}.",
        "I cannot open my {context}.",
        "I forgot the password of my {context}.",
        "My {context} is locked.",
        "I want to recover my {context}.",
        "I need my {context} back.",
        "My {context} is closed to me.",
        "I lost the password for my {context}.",
    ),
    (
        "I chose {a_key}. How long does it take?",
        "How long must I wait for {a_key}?",
        "I asked for {a_key}. When can I get in?",
        "Tell me the waiting time for {a_key}.",
        "I used {a_key}. How long is the wait?",
        "How much time does {a_key} need?",
        "I started {a_key}. When is it done?",
        "What is the wait after {a_key}?",
        "When will I get back in with {a_key}?",
    ),
    (
        "I am locked out of my {context} and chose {a_key}. How long does it take?",
        "How long must I wait for {a_key}? I cannot open my {context}.",
        "I forgot the password of my {context}. I asked for {a_key}. When can I get in?",
        "[Please tell me|Tell me] the waiting time for {a_key}. It is for my {context}.",
        "My {context} is locked. I used {a_key} to get back in. How long is the wait?",
        "When will I get back into my {context} with {a_key}?",
        "I want to recover my {context} with {a_key}. How much time does it need?",
    ),
    (
        "I started {a_key} for my locked {context}. How long is the wait?",
        "What is the time that {a_key} needs? I lost the password for my {context}.",
    ),
    (
        "Recovery with {a_key} takes {value}.",
        "You can open your {context} {value} after {a_key}.",
        "With {a_key}, the wait for your {context} is {value}.",
        "{a_key} needs {value} to unlock the {context}.",
    ),
)

_EXPORT = Kind(
    "export",
    "account",
    by_key(
        messages="2 hours",
        files="24 hours",
        invoices="1 hour",
        contacts="3 hours",
        activity_log="6 hours",
        calendar="4 hours",
    ),
    _ACCOUNTS,
    (
        "I am moving my {context}.",
        "It is my {context}.",
        "I need a copy from my {context}.",
        "I want to close my {context}.",
        "I am about to leave my {context}.",
        "My boss wants a copy from the {context}.",
        "I asked for an export from my {context}.",
        "I take a backup of my {context}.",
    ),
    (
        "How long does it take to export the {key}?",
        "When is the export of the {key} ready?",
        "How many hours does the {key} export take?",
        "When can I download the {key}?",
        "Tell me how long the {key} export takes.",
        "My export of the {key} is not here yet. How long must I wait?",
        "How many hours until I have the {key}?",
        "I wait for the {key}. When can I download the export?",
        "I want to take the {key} with me. How long does that need?",
    ),
    (
        "I asked for an export of the {key} from my {context}. When is it ready?",
        "How long does it take to export the {key} of my {context}?",
        "I need a copy of the {key} in my {context}. How long must I wait?",
        "My export of the {key} is not here yet. How many hours does it take? It is my {context}.",
        "[Please tell me|Tell me] how long the {key} export of my {context} takes.",
        "When can I download the {key} from my {context}?",
        "I am moving my {context} and want to take the {key} with me. How long does the export need?",
    ),
    (
        "How many hours must I wait for the {key} of my {context}?",
        "A copy of the {key} from the {context}, how long does that take?",
    ),
    (
        "The {key} export takes {value}.",
        "The export of the {key} from your {context} is ready in {value}.",
        "You can download the {key} of your {context} after {value}.",
        "It takes {value} to export the {key}.",
    ),
)

ACCOUNT: tuple[Kind, ...] = (_ROLE, _RECOVERY, _EXPORT)
