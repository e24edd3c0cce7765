from __future__ import annotations

from django.db import migrations

from access.grants import ADMIN, EVERYBODY, OPERATOR, TRADER, grant

SEEN_BY_ALL = (
    "signals.view_*",
    "enrichment.view_*",
    "decisions.view_*",
    "evaluation.view_evaluation",
    "evaluation.view_rerun",
    "evaluation.view_modelcard",
    "evaluation.view_modelstate",
    "evaluation.view_price",
    "evaluation.view_spend",
    "pipeline.view_stagerun",
    "pipeline.view_deadletter",
    "pipeline.view_heartbeat",
    "pipeline.view_switch",
)
OPERATED = (
    "pipeline.view_*",
    "pipeline.requeue",
    "pipeline.pause",
    "signals.cancel",
    "evaluation.switch_model",
    "evaluation.add_rerun",
    "evaluation.view_promptversion",
    "evaluation.add_promptversion",
    "evaluation.change_promptversion",
    "enrichment.add_featureprofile",
    "enrichment.add_policy",
    "access.view_apikey",
)
ADMINISTERED = (
    "pipeline.purge",
    "enrichment.activate_rules",
    "evaluation.promote_prompt",
    "evaluation.add_*",
    "evaluation.change_*",
    "evaluation.view_*",
    "access.manage_keys",
    "access.view_*",
    "access.add_user",
    "access.change_user",
    "auth.view_group",
)


class Migration(migrations.Migration):
    initial = True

    dependencies = [
        ("auth", "0012_alter_user_first_name_max_length"),
        ("contenttypes", "0002_remove_content_type_name"),
        ("access", "0002_operators"),
        ("pipeline", "0003_operators"),
        ("signals", "0003_operators"),
        ("enrichment", "0002_operators"),
        ("evaluation", "0003_operators"),
        ("decisions", "0002_refuse_changing_what_was_published"),
    ]

    operations = [
        grant(EVERYBODY, *SEEN_BY_ALL),
        grant((TRADER, OPERATOR, ADMIN), "evaluation.view_attempt"),
        grant((OPERATOR, ADMIN), *OPERATED),
        grant((ADMIN,), *ADMINISTERED),
    ]
