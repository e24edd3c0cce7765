from __future__ import annotations

from django.db import migrations

from access.grants import ADMIN, EVERYBODY, OPERATOR, grant


class Migration(migrations.Migration):
    dependencies = [
        ("lens_site", "0003_retention"),
        ("outcomes", "0006_acknowledged_alerts"),
    ]

    operations = [
        grant(EVERYBODY, "outcomes.view_*"),
        grant(
            (OPERATOR, ADMIN),
            "outcomes.experiment",
            "outcomes.choose_golden",
            "outcomes.acknowledge_alert",
        ),
        grant((ADMIN,), "outcomes.promote_challenger"),
    ]
