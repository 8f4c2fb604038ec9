"""Technical tickets: status codes, synchronisation and size limits."""

from __future__ import annotations

from types import MappingProxyType

from guardsteer.demo.corpus.kinds import Kind, by_key

__all__ = ["TECHNICAL"]

_PLACES = (
    "upload page", "login page", "dashboard", "shared folder", "report page", "calendar", "message board",
    "settings page",
)  # fmt: skip
_THINGS = ("photos", "contacts", "notes", "files", "reminders", "messages")

_CODE = Kind(
    "code",
    "technical",
    MappingProxyType(
        {
            "401": "sign out and sign in again",
            "403": "ask an owner for access",
            "404": "check the link for a typing error",
            "408": "restart the router",
            "413": "split the file into smaller parts",
            "429": "wait ten minutes before the next try",
            "500": "clear the cache and reload the page",
            "503": "wait for the end of the maintenance",
        }
    ),
    _PLACES,
    (
        "The {context} stopped working.",
        "I cannot use the {context}.",
        "I want to open the {context}.",
        "Something is wrong with the {context}.",
        "The {context} does not load.",
        "My problem is the {context}.",
        "I am on the {context}.",
        "The {context} was fine yesterday.",
        "Nobody here can open the {context}.",
    ),
    (
        "I get error {key}. What should I do?",
        "It shows [status|code|error code] {key}. How do I fix it?",
        "What does error {key} mean?",
        "It says {key}. What is the fix?",
        "It gives me a {key}. How can I solve this?",
        "How do I get rid of error {key}?",
        "There is [a|an error] {key}. What can I do about it?",
        "It fails with status {key}. [Can you help me|Please help]?",
        "It answers with {key} all the time. Which step solves it?",
        "I only see a {key}. What now?",
        "The error is {key}. How do I repair it?",
    ),
    (
        "I get error {key} on the {context}. What should I do?",
        "The {context} shows [status|code|error code] {key}. How do I fix it?",
        "What does error {key} mean? I see it on the {context}.",
        "Every time I open the {context} I get a {key}. How can I solve this?",
        "My {context} stopped working with code {key}. [Can you help me|Please help]?",
        "I cannot use the {context}. It says {key}. What is the fix?",
        "Since today the {context} fails with status {key}. What can I do about it?",
        "[Please tell me|Tell me] how to get rid of error {key} on the {context}.",
    ),
    (
        "The {context} gives me error {key} all the time. How do I solve it?",
        "What is the fix for a {key}? I see it when I open the {context}.",
        "I see {key} on the {context}. Which step do I need?",
    ),
    (
        "For error {key} on the {context}, please {value}.",
        "Error {key} means that you need to {value}.",
        "To fix error {key}, {value}.",
        "When the {context} shows {key}, you should {value}.",
        "The fix for code {key} is to {value}.",
    ),
)

_SYNC = Kind(
    "sync",
    "technical",
    by_key(
        phone="turn on background refresh",
        tablet="update the app from the store",
        laptop="restart the sync service",
        desktop="allow Quillbox through the firewall",
        watch="pair it with your phone again",
        television="link it with the six digit code",
    ),
    _THINGS,
    (
        "My {context} do not sync.",
        "The {context} are old.",
        "My {context} are missing.",
        "The {context} do not show up.",
        "My {context} never arrive.",
        "New {context} will not load.",
        "I cannot see my {context}.",
        "I need my {context} today.",
        "The {context} are stuck.",
    ),
    (
        "How do I get them on my {key}?",
        "I use a {key}. What should I do?",
        "How can I fix the sync on my {key}?",
        "Sync is broken on my {key}. What is the fix?",
        "What must I do on the {key}?",
        "It is my {key}. How do I repair it?",
        "My {key} stopped showing them. Which step brings them back?",
        "How is that solved on a {key}?",
        "I have a new {key}. [Can you help me|What can I do]?",
    ),
    (
        "My {context} do not sync to my {key}. What should I do?",
        "How do I get my {context} on my {key}? They do not show up.",
        "The {context} on my {key} are old. How can I fix the sync?",
        "I use a {key} and my {context} are missing. [Can you help me|What can I do]?",
        "Sync is broken on my {key}. My {context} never arrive. What is the fix?",
        "Why are my {context} not on the {key}? [Please help.|How do I repair it?]",
        "My {key} stopped showing new {context}. How do I get them back?",
        "[Please tell me|Tell me] how to sync {context} with a {key}.",
    ),
    (
        "On my {key} the {context} never load. Which step brings them back?",
        "I have a new {key} and my {context} are missing. What must I do?",
        "How do I repair the sync of {context} on a {key}?",
    ),
    (
        "On your {key}, please {value} to sync your {context}.",
        "To sync your {context} on the {key}, {value}.",
        "If the {key} does not show your {context}, {value}.",
        "You need to {value}, then the {context} will show up on your {key}.",
    ),
)

_SIZE = Kind(
    "size",
    "technical",
    by_key(
        photo="20 megabytes",
        video="400 megabytes",
        document="50 megabytes",
        archive="250 megabytes",
        spreadsheet="30 megabytes",
        presentation="80 megabytes",
    ),
    _PLACES,
    (
        "I am using the {context}.",
        "The {context} does not take it.",
        "I want to share something on the {context}.",
        "It is too large for the {context}.",
        "The {context} says no.",
        "I add files to the {context}.",
        "It is about the {context}.",
        "I tried the {context} twice.",
    ),
    (
        "How large can {a_key} be?",
        "What is the [size limit|largest size] for {a_key}?",
        "How many megabytes are allowed for {a_key}?",
        "How big may {a_key} be?",
        "What is the maximum for {a_key}?",
        "Which size of {key} is allowed?",
        "I have {a_key}. How big can it be at most?",
        "Tell me the limit for {a_key}.",
    ),
    (
        "How large can {a_key} be on the {context}?",
        "The {context} does not take my {key}. What is the [size limit|largest size]?",
        "I want to add {a_key} to the {context}. How many megabytes are allowed?",
        "What is the limit for {a_key}? I am using the {context}.",
        "My {key} is too big for the {context}. How big may it be?",
        "[Please tell me|Tell me] the size limit for {a_key} on the {context}.",
        "The {context} says that my {key} is too large. What is the maximum?",
    ),
    (
        "Which size may {a_key} have on the {context}?",
        "I want to share {a_key} on the {context}. How many megabytes can it be at most?",
    ),
    (
        "The limit for {a_key} is {value}.",
        "{a_key} on the {context} can have up to {value}.",
        "The {context} takes {a_key} of up to {value}.",
        "You can add {a_key} of {value} or less.",
    ),
)

TECHNICAL: tuple[Kind, ...] = (_CODE, _SYNC, _SIZE)
