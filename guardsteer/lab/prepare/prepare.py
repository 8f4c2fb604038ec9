"""Build, calibrate and bind every vector and probe that a policy needs for a model, so that it runs there.

What is there, bound to this model, and made from the same in the same way is not made again.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from guardsteer.assets import Catalog
from guardsteer.core.policy import Policy
from guardsteer.errors import AssetError
from guardsteer.host import fingerprint
from guardsteer.lab.prepare.needs import needs_of, probe_needs_of, read_policy
from guardsteer.lab.prepare.page import prepared_page
from guardsteer.lab.prepare.prepared import Report
from guardsteer.lab.prepare.probe import ProbeMaker
from guardsteer.lab.prepare.settings import Metrics, Settings, check_settings
from guardsteer.lab.prepare.vector import VectorMaker
from guardsteer.lab.recipes.recipe import load_recipe
from guardsteer.lab.reports.report import save_page

__all__ = ["Metrics", "Settings", "prepare"]

PAGE = "prepared.html"


def prepare(
    model: Any,
    tokenizer: Any,
    policy: Policy | str | Path,
    out: Path,
    settings: Settings | None = None,
    *,
    catalog: Catalog | None = None,
    progress: Callable[[str], None] = lambda _: None,
) -> Report:
    """Build below ``out`` what ``policy`` needs for ``model`` and return what was done with each.

    Afterwards ``guardsteer.wrap(model, tokenizer, policy=policy, assets=[out])`` finds everything, if
    ``report.runs``. Nothing is written elsewhere, unless ``settings.in_place``. ``catalog``: where names are
    looked up, behind ``out``. One vector's failure does not stop the others. Raises ``PolicyError`` and
    ``AssetError`` for a policy or recipe that cannot be read, ``RequestError`` for settings that leave
    nothing to try, and ``HostError`` for a model.
    """
    chosen = settings or Settings()
    check_settings(chosen)
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise AssetError(f"{out}: cannot be a folder for assets: {error.strerror or error}") from error
    found = Catalog([out, *(catalog.given if catalog is not None else ())])
    read = policy if isinstance(policy, Policy) else read_policy(policy, found)
    home = None if chosen.in_place else out
    needs, probes = needs_of(read, found, home), probe_needs_of(read, found, home)
    recipes = {need.recipe: load_recipe(need.recipe) for need in needs}
    names = dict.fromkeys(need.name for need in needs)
    strange = (set(chosen.metrics.of) | chosen.metrics.lower) - set(names)
    if strange:
        known = ", ".join(names) or "none"
        raise AssetError(f"metric for {', '.join(sorted(strange))}: the policy's recipes are {known}")
    identity = fingerprint(model, tokenizer)
    maker = VectorMaker(model, tokenizer, identity, chosen, progress)
    probe_maker = ProbeMaker(model, tokenizer, identity, chosen, found, progress)
    made = [maker.make(need, recipes[need.recipe]) for need in needs]
    made += [probe_maker.make(need) for need in probes]
    report = Report(read.name, identity.short, out, tuple(made))
    report.save()
    save_page(out / PAGE, prepared_page(report))
    return report
