"""An alert as the JSON that programs and webhooks get: one object, the same for both."""

from __future__ import annotations

import json

from tui.model.alert import Alert


def alert_json(alert: Alert) -> bytes:
    """One line of JSON. `id` is the same for every delivery of one alert, `text` a whole sentence."""
    subject = f"Trimtab on {alert.network}"
    return json.dumps(
        {
            "event": "alert",
            "id": f"{alert.key}@{int(alert.at)}",
            "kind": str(alert.kind),
            "severity": str(alert.severity),
            "text": f"{subject}: {alert.text}",
            "at": alert.at,
            "network": alert.network,
            "block": alert.block,
            "rule": alert.rule,
            "position": alert.position,
            "firing": alert.firing,
            "repeated": alert.repeated,
        },
        ensure_ascii=True,
    ).encode()
