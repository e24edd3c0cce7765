"""Sums of the day by one thing alone, for the days that were summed before there were any."""

from collections import defaultdict

from django.db import migrations

ALL = "*"
DIVIDING = ("prompt_version", "source", "symbol", "regime")
KEY = ("scope", "model", "variant", *DIVIDING, "event_type", "day")
SUMS = (
    *("asked", "n", "wins", "followed", "followed_wins", "followed_r", "ignored_r", "plan_r"),
    *("plans", "p", "brier", "brier_raw", "brier_base", "log_loss", "skill", "skill_sq"),
    *("cost_usd", "latency_ms"),
)
BATCH = 1_000


def wider(row):
    """Yield the keys of the sums by one thing that a row of that key belongs to."""
    for kept in DIVIDING:
        yield tuple(
            ALL if name in DIVIDING and name != kept else value
            for name, value in zip(KEY, row, strict=True)
        )


def fill(apps, schema_editor):
    days, scores = apps.get_model("outcomes", "ScoreDay"), apps.get_model("outcomes", "Score")
    alias = schema_editor.connection.alias
    sums, bins = {}, defaultdict(dict)
    groups = days.objects.using(alias)
    for name in DIVIDING:
        groups = groups.exclude(**{name: ALL})
    for row in groups.values_list(*KEY, *SUMS).iterator():
        for key in wider(row[: len(KEY)]):
            kept = sums.setdefault(key, [0] * len(SUMS))
            sums[key] = [one + other for one, other in zip(kept, row[len(KEY) :], strict=True)]
    told = scores.objects.using(alias).filter(bin__isnull=False)
    for row in told.values_list(*KEY, "bin", "won").iterator():
        for key in wider(row[: len(KEY)]):
            of_step = bins[key].setdefault(row[-2], [0, 0])
            of_step[0] += 1
            of_step[1] += int(row[-1])
    days.objects.using(alias).bulk_create(
        [
            days(
                **dict(zip(KEY, key, strict=True)),
                **dict(zip(SUMS, values, strict=True)),
                bins={str(step): bins[key][step] for step in sorted(bins[key])},
            )
            for key, values in sums.items()
        ],
        batch_size=BATCH,
        ignore_conflicts=True,
    )


class Migration(migrations.Migration):
    dependencies = [("outcomes", "0007_days_by_one_thing")]

    operations = [migrations.RunPython(fill, migrations.RunPython.noop)]
