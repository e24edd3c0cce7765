from __future__ import annotations

from django.db import migrations

from access.grants import ADMIN, OPERATOR, grant


class Migration(migrations.Migration):
    dependencies = [
        ("lens_site", "0002_webhooks"),
        ("pipeline", "0006_seals_and_purges"),
        ("signals", "0006_holds_and_spent_keys"),
    ]

    operations = [
        grant(
            (OPERATOR, ADMIN),
            "pipeline.view_auditevent",
            "pipeline.view_purge",
            "signals.view_hold",
        ),
        grant((ADMIN,), "signals.add_hold", "signals.change_hold"),
    ]
