"""The sensor that tells media servers of new entries. How they are asked and how often is `servers/`'s."""

import dagster as dg

from ironclad_assets.servers.refresher import Refresher

INTERVAL_S = 5


def build_server_refresher(refresher: Refresher) -> dg.SensorDefinition:
    """Return the sensor whose ticks are `refresher`'s. It also makes the request for the last of many songs."""

    @dg.sensor(
        minimum_interval_seconds=INTERVAL_S,
        default_status=dg.DefaultSensorStatus.RUNNING,
        description="Asks the configured media servers to look for new files after entries landed in the library.",
    )
    def server_refresher(context: dg.SensorEvaluationContext) -> dg.SkipReason:
        return dg.SkipReason(refresher.tick())

    return server_refresher
