"""The only code that touches Hugging Face modules: blocks, hooks, fingerprints, chat roles."""

from __future__ import annotations

from guardsteer.host.blocks import Layout, find_layout
from guardsteer.host.capture import capture, capture_points
from guardsteer.host.fingerprint import Fingerprint, difference, fingerprint
from guardsteer.host.gaps import Gap, check_retraction, put_gaps, windows_of
from guardsteer.host.hooks import HookSet, HookSpec, attach
from guardsteer.host.lengths import CacheLength
from guardsteer.host.outputs import hidden_of, with_hidden
from guardsteer.host.points import SITES, Point, outputs_of_blocks, point_at
from guardsteer.host.selftest import check_steering
from guardsteer.host.sites import Heads, find_heads, hook_at, hooks_at, site_width
from guardsteer.host.support import check_generation, check_model, refuse_compiled, refuse_packed
from guardsteer.host.turns import RenderedChat, Turn, render_chat

__all__ = [
    "SITES",
    "CacheLength",
    "Fingerprint",
    "Gap",
    "Heads",
    "HookSet",
    "HookSpec",
    "Layout",
    "Point",
    "RenderedChat",
    "Turn",
    "attach",
    "capture",
    "capture_points",
    "check_generation",
    "check_model",
    "check_retraction",
    "check_steering",
    "difference",
    "find_heads",
    "find_layout",
    "fingerprint",
    "hidden_of",
    "hook_at",
    "hooks_at",
    "outputs_of_blocks",
    "point_at",
    "put_gaps",
    "refuse_compiled",
    "refuse_packed",
    "render_chat",
    "site_width",
    "windows_of",
    "with_hidden",
]
