"""Readers of public data sets, each with its licence and whose work it is."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from guardsteer.lab.classifiers.sources.banking77 import BANKING77
from guardsteer.lab.classifiers.sources.bitext import BITEXT
from guardsteer.lab.classifiers.sources.caa import CAA_HALLUCINATION, CAA_REFUSAL, CAA_SYCOPHANCY
from guardsteer.lab.classifiers.sources.clinc150 import CLINC150
from guardsteer.lab.classifiers.sources.files import Labelled, Source
from guardsteer.lab.classifiers.sources.goemotions import GOEMOTIONS
from guardsteer.lab.classifiers.sources.harmful_prompts import HARMFUL_PROMPTS
from guardsteer.lab.classifiers.sources.prompt_injection import PROMPT_INJECTION
from guardsteer.lab.classifiers.sources.repe_emotions import REPE_EMOTIONS
from guardsteer.lab.classifiers.sources.soda import SODA
from guardsteer.lab.classifiers.sources.surge import SURGE
from guardsteer.lab.classifiers.sources.truthfulqa import TRUTHFULQA
from guardsteer.lab.classifiers.sources.xstest import XSTEST_ANSWERS, XSTEST_PROMPTS

__all__ = ["SOURCES", "Labelled", "Source"]

_ALL = (
    BANKING77,
    BITEXT,
    CAA_HALLUCINATION,
    CAA_REFUSAL,
    CAA_SYCOPHANCY,
    CLINC150,
    GOEMOTIONS,
    HARMFUL_PROMPTS,
    PROMPT_INJECTION,
    REPE_EMOTIONS,
    SODA,
    SURGE,
    TRUTHFULQA,
    XSTEST_ANSWERS,
    XSTEST_PROMPTS,
)

SOURCES: Mapping[str, Source] = MappingProxyType({source.name: source for source in _ALL})
"""Every set that a recipe can name."""
