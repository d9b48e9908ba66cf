"""Imported last by the process that runs are forked of: what every run imports of Dagster when it comes to it.

Which modules those are was seen in a run. Nothing is opened here: a fork would share it; and no thread is started: a
fork would lack it.
"""

# ruff: noqa: F401 - they are imported for what importing them costs

import gc
import os

import dagster._core.definitions.repository_definition.repository_data_builder
import dagster._core.execution.plan.active
import dagster._core.executor.in_process
import dagster._core.instance.factory
import dagster._core.storage.local_compute_log_manager
import upath.implementations.local

import ironclad_assets.resources.dagster_storage
import ironclad_assets.sensors.code_server  # a run's process imports the main module of its server once more
from ironclad_assets.sensors.warm_runs import take_name

os.register_at_fork(after_in_child=take_name)
gc.freeze()  # what is here stays: a collection in a run touches, and so copies, none of it
