"""What the demo's support desk knows: kinds of ticket, and the answer that each fact calls for.

The company, Quillbox, is invented. Every kind of ticket has a *key* that decides the answer (a plan, a
status code, a role) and a *context* that does not (an item, a page, a space) but that the customer names.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

__all__ = ["KINDS", "KINDS_BY_NAME", "Kind"]


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of ticket: ``answers_by_key`` maps the deciding fact to the words that a right answer holds."""

    name: str
    domain: str
    answers_by_key: Mapping[str, str]
    contexts: tuple[str, ...]
    questions: tuple[str, ...]
    held_out_questions: tuple[str, ...]
    replies: tuple[str, ...]


def _by_key(**answers: str) -> Mapping[str, str]:
    return MappingProxyType({key.replace("_", " ").strip(): answer for key, answer in answers.items()})


_ITEMS = (
    "invoice", "subscription", "renewal", "upgrade", "yearly bundle", "add-on", "seat pack", "storage pack",
)  # fmt: skip
_PLACES = (
    "upload page", "login page", "dashboard", "shared folder", "report page", "calendar", "message board",
    "settings page",
)  # fmt: skip
_SPACES = ("design space", "sales space", "finance space", "training space", "research space", "events space")
_THINGS = ("photos", "contacts", "notes", "files", "reminders", "messages")
_ACCOUNTS = ("personal account", "work account", "school account", "family account", "studio account")

_REFUND = Kind(
    "refund",
    "billing",
    _by_key(Basic="7 days", Plus="14 days", Pro="30 days", Team="60 days", Max="90 days"),
    _ITEMS,
    (
        "I was charged for the {context} on the {key} plan. How long do I have to [get|ask for] a refund?",
        "What is the refund [window|period] for [my|the] {context}? I use the {key} plan.",
        "Can I [return|send back] the {context}? My plan is {key}. How many days do I have?",
        "[Please tell me|Tell me] how long the refund [window|period] is on {key}. It is about my {context}.",
        "I am on {key} and I want my money back for the {context}. How long is that possible?",
        "I bought the {context} by mistake. I have the {key} plan. [Is there|What is the] time limit for a refund?",
        "My {context} was billed twice. We use {key}. How many days do I have to claim the money back?",
        "How many days does the {key} plan give me to return the {context}?",
        "I do not want the {context} any more. Until when can I get a refund on {key}?",
    ),
    (
        "We are {key} customers and the {context} was a mistake. How many days are there for a refund?",
        "By when must I ask for the money back for my {context}? My plan is {key}.",
        "I changed my mind about the {context}. How long does {key} let me get a refund?",
    ),
    (
        "The {key} plan has a refund [window|period] of {value} for the {context}.",
        "You have {value} to get a refund for the {context} on the {key} plan.",
        "On {key}, the {context} can be refunded within {value}.",
        "The {context} can be returned for {value} on the {key} plan.",
        "With {key}, you can ask for a refund of the {context} for {value}.",
    ),
)

_PRICE = Kind(
    "price",
    "billing",
    _by_key(Basic="9 dollars", Plus="19 dollars", Pro="49 dollars", Team="99 dollars", Max="199 dollars"),
    _ITEMS,
    (
        "How much is the {key} plan per month? My {context} looks wrong.",
        "What does {key} cost? I want to check my {context}.",
        "[Please tell me|Tell me] the monthly price of {key}. I need it for the {context}.",
        "My {context} shows a strange amount. What is the price of the {key} plan?",
        "I would like to move to {key} after the {context}. How much would I pay each month?",
        "What will I pay per month [on|with] the {key} plan? I am looking at the {context}.",
        "The {context} does not list a price. How much does {key} cost?",
        "How many dollars is {key} each month? It is not on the {context}.",
    ),
    (
        "I compare prices before the {context}. What is the monthly cost of {key}?",
        "Is there a price list? I need the cost of {key} for my {context}.",
        "What do you charge for {key} per month? The {context} does not say.",
    ),
    (
        "The {key} plan costs {value} per month.",
        "The price of {key} is {value} a month.",
        "You pay {value} each month for the {key} plan.",
        "For your {context}, the {key} plan is {value} per month.",
        "The monthly price of the {key} plan is {value}.",
    ),
)

_SEATS = Kind(
    "seats",
    "billing",
    _by_key(Basic="1 seat", Plus="5 seats", Pro="20 seats", Team="50 seats", Max="200 seats"),
    _ITEMS,
    (
        "How many seats are in the {key} plan? I need it for the {context}.",
        "I have {key}. How many people can use the {context}?",
        "How many people [may|can] work with us on {key}? We just paid for the {context}.",
        "We are on the {key} plan and want to add people to the {context}. How many seats do we have?",
        "[Please tell me|Tell me] how many users {key} allows. The {context} does not show it.",
        "What is the number of seats on {key}? I am checking the {context}.",
        "My {context} says we have no free seats. How many seats come with {key}?",
        "How many members can join us on the {key} plan? It is for the {context}.",
    ),
    (
        "What is the seat limit of {key}? I ask because of the {context}.",
        "How many colleagues can I invite with {key}? The {context} is new.",
        "Before I pay for the {context}, how many seats does {key} have?",
    ),
    (
        "The {key} plan includes {value}.",
        "You have {value} on the {key} plan.",
        "The {key} plan comes with {value} for the {context}.",
        "With {key}, your {context} has {value}.",
        "There is room for {value} on the {key} plan.",
    ),
)

_CLEARING = Kind(
    "clearing",
    "billing",
    _by_key(
        credit_card="2 days", debit_card="3 days", bank_transfer="5 days", gift_card="1 day",
        mobile_wallet="4 days", paper_check="10 days",
    ),  # fmt: skip
    _ITEMS,
    (
        "I paid for the {context} with a {key}. When will the payment clear?",
        "How long does a {key} payment take? It was for the {context}.",
        "My {context} still says unpaid. I used a {key}. How long must I wait?",
        "[Please tell me|Tell me] how many days a {key} needs. I paid for my {context} this morning.",
        "The {context} was paid by {key}. When will you see the money?",
        "I sent the money for the {context} by {key}. How long until it is booked?",
        "When does a {key} payment for the {context} arrive?",
    ),
    (
        "I chose a {key} for the {context}. How many days until the payment goes through?",
        "My payment by {key} is pending. When is the {context} settled?",
    ),
    (
        "A {key} payment clears in {value}.",
        "Your {key} payment for the {context} takes {value} to clear.",
        "It takes {value} for a {key} payment to arrive.",
        "The {context} is settled {value} after a {key} payment.",
    ),
)

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
        "The {context} answers with {key} all the time. Which step solves it?",
        "There is a {key} error in the way of my {context}. How do I repair it?",
        "Help, the {context} only gives me a {key}. What now?",
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
    _by_key(
        phone="turn on background refresh", tablet="update the app from the store",
        laptop="restart the sync service", desktop="allow Quillbox through the firewall",
        watch="pair it with your phone again", television="link it with the six digit code",
    ),  # fmt: skip
    _THINGS,
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
        "On my {key} the {context} are stuck. Which step brings them back?",
        "I bought a {key} and no {context} appear on it. What must I do?",
        "New {context} will not load on the {key}. How is that solved?",
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
    _by_key(
        photo="20 megabytes", video="400 megabytes", document="50 megabytes", archive="250 megabytes",
        spreadsheet="30 megabytes", presentation="80 megabytes",
    ),  # fmt: skip
    _PLACES,
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
        "Which size of {key} does the {context} accept?",
        "I tried to share {a_key} through the {context}. How big can it be at most?",
    ),
    (
        "The limit for {a_key} is {value}.",
        "{a_key} on the {context} can have up to {value}.",
        "The {context} takes {a_key} of up to {value}.",
        "You can add {a_key} of {value} or less.",
    ),
)

_ROLE = Kind(
    "role",
    "account",
    _by_key(
        viewer="open and read files", commenter="add comments", editor="change and save files",
        manager="invite and remove members", admin="set roles and billing", owner="transfer or close the space",
    ),  # fmt: skip
    _SPACES,
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
        "I became {a_key} for the {context} today. Which permissions come with that?",
        "The {context} lists me as {key}. What does that allow?",
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
    _by_key(
        email_link="15 minutes", text_code="5 minutes", backup_code="1 minute", phone_call="30 minutes",
        identity_form="3 days", recovery_contact="12 hours",
    ),  # fmt: skip
    _ACCOUNTS,
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
        "I started {a_key} for my locked {context}. When is it done?",
        "What is the usual wait after {a_key}? My {context} is closed to me.",
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
    _by_key(
        messages="2 hours", files="24 hours", invoices="1 hour", contacts="3 hours", activity_log="6 hours",
        calendar="4 hours",
    ),  # fmt: skip
    _ACCOUNTS,
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
        "I wait for the {key} of my {context}. How many hours until I can download the export?",
        "A full copy of the {key} from the {context}, how long does that need?",
    ),
    (
        "The {key} export takes {value}.",
        "The export of the {key} from your {context} is ready in {value}.",
        "You can download the {key} of your {context} after {value}.",
        "It takes {value} to export the {key}.",
    ),
)

KINDS: tuple[Kind, ...] = (
    _REFUND, _PRICE, _SEATS, _CLEARING, _CODE, _SYNC, _SIZE, _ROLE, _RECOVERY, _EXPORT,
)  # fmt: skip
KINDS_BY_NAME: Mapping[str, Kind] = MappingProxyType({kind.name: kind for kind in KINDS})
