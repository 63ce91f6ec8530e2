"""The trials that a search would run, and estimates of their time; nothing runs."""

from __future__ import annotations

import numpy as np
from rich.console import Console
from rich.table import Table

from basecaller.hpo.grid import as_text
from basecaller.reporting.formats import duration, many
from basecaller.search_plan.agenda import LIKELY
from basecaller.search_plan.costs import estimate, most_trials
from basecaller.search_plan.request import Request


def preview(request: Request, console: Console) -> None:
    """Lists every trial of the first round with its settings, then rounds, finalists and headline, with estimates of time."""
    cfg = request.cfg.search
    total, seconds = 0, 0.0
    for name, file in request.files.items():
        space, fixed = file.planned(request.overrides, request.group_options)
        points = [point.values for point in space.points()]
        table = Table("trial", "settings", "about", title=name, title_justify="left")
        costs = [estimate(request, {**fixed, **point}) for point in points]
        for number, (point, cost) in enumerate(zip(points, costs, strict=True)):
            table.add_row(str(number), "  ".join(f"{k}={as_text(v)}" for k, v in point.items()), f"{cost:.1f} s")
        console.print(table)
        if file.stage.extend:
            console.print(f"up to {file.stage.extend} more beyond the edge of the grid, if the winner lies there", style="dim")
        console.print("  ".join(f"{k}={v}" for k, v in fixed.items()), style="dim")
        runs, seeds = most_trials(request, name)
        if seeds > 1:
            console.print(f"{len(points)} points, at most {runs} trials over {seeds} seeds", style="dim")
        total, seconds = total + runs, seconds + runs * float(np.mean(costs))
    workers = request.workers.count
    parts = {f"first round: {many(total, 'trial')}": seconds}
    later = max(0, int(cfg.rounds) - 1)
    if later:
        words = f"up to {many(later, 'more round')}, trials {cfg.round_budget} times as long"
        parts[words] = later * seconds / 2 * int(cfg.round_budget)
    cost = estimate(request, {}, config=request.winner_config)
    if int(cfg.finalists) > 1:
        count = int(cfg.finalists) + int(cfg.combined)
        combined = f" and {many(cfg.combined, 'combination')}" if cfg.combined else ""
        each = f"{float(cfg.finalist_share):.0%} of the winner's training each"
        words = f"up to {cfg.finalists} finalists{combined} at {many(cfg.finalist_seeds, 'seed')}, {each}"
        parts[words] = count * int(cfg.finalist_seeds) * float(cfg.finalist_share) * cost
        if cfg.batch_margin is not None:
            parts[f"up to 2 contenders, {float(cfg.contender_share):.0%} of the winner's training each"] = (
                2 * LIKELY * float(cfg.contender_share) * cost
            )
    seeds = int(cfg.headline_seeds)
    parts[f"headline: the winner and the defaults, {many(seeds, 'seed')} each"] = 2 * seeds * cost
    table = Table("part", "about", title="the whole search", title_justify="left", show_footer=True)
    table.columns[0].footer, table.columns[1].footer = "in all", duration(sum(parts.values()) / workers)
    for words, seconds in parts.items():
        table.add_row(words, duration(seconds / workers))
    console.print(table)
    console.print(f"{many(workers, 'training')} at once, {many(request.workers.threads, 'thread')} each")
