"""Billing tickets: refunds, prices, seats, and when a payment clears."""

from __future__ import annotations

from guardsteer.demo.corpus.kinds import Kind, by_key

__all__ = ["BILLING"]

_ITEMS = (
    "invoice", "subscription", "renewal", "upgrade", "yearly bundle", "add-on", "seat pack", "storage pack",
)  # fmt: skip

_REFUND = Kind(
    "refund",
    "billing",
    by_key(Basic="7 days", Plus="14 days", Pro="30 days", Team="60 days", Max="90 days"),
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
    by_key(Basic="9 dollars", Plus="19 dollars", Pro="49 dollars", Team="99 dollars", Max="199 dollars"),
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
    by_key(Basic="1 seat", Plus="5 seats", Pro="20 seats", Team="50 seats", Max="200 seats"),
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
    by_key(
        credit_card="2 days",
        debit_card="3 days",
        bank_transfer="5 days",
        gift_card="1 day",
        mobile_wallet="4 days",
        paper_check="10 days",
    ),
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

BILLING: tuple[Kind, ...] = (_REFUND, _PRICE, _SEATS, _CLEARING)
