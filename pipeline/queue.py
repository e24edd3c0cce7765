"""Doorbells: the only importer of RQ and Redis.

A bell says "look at the table", nothing more, so it may be lost, doubled or late. The table
``StageRun`` is the truth. A bell that already rings is not rung again, and a worker never runs
what a bell names: whatever is planted in Redis, nothing of it is executed.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from functools import cache
from threading import Event
from typing import Any
from uuid import uuid4

import redis
import redis.asyncio
from django.conf import settings
from django.db import connection, transaction
from redis.exceptions import RedisError as RedisError  # a face of this door
from rq import Queue
from rq.serializers import JSONSerializer
from rq.timeouts import TimerDeathPenalty
from rq.worker import SimpleWorker

logger = logging.getLogger(__name__)

BELL_TTL_S = 120
SILENCE_AFTER_FAULT_S = 1.0
LISTEN_TTL_S = 20

RING = """
if redis.call('LLEN', KEYS[1]) > 0 then return end
redis.call('HSET', KEYS[2], unpack(ARGV, 3))
redis.call('EXPIRE', KEYS[2], ARGV[2])
redis.call('SADD', KEYS[3], KEYS[1])
redis.call('RPUSH', KEYS[1], ARGV[1])
"""
BELL_FADES_S = 0.005
"""How long a listener leaves the processor to the claim that its bell has woken."""


@cache
def redis_client() -> redis.Redis:
    """Return this process's client for quick calls: short timeouts, no retries."""
    timeout_s = settings.REDIS_TIMEOUT_MS / 1000
    return redis.Redis.from_url(
        settings.REDIS_URL,
        socket_timeout=timeout_s,
        socket_connect_timeout=timeout_s,
        retry=None,
    )


def async_redis_client() -> redis.asyncio.Redis:
    """Return a new client for the running event loop; the caller closes it."""
    timeout_s = settings.REDIS_TIMEOUT_MS / 1000
    return redis.asyncio.Redis.from_url(
        settings.REDIS_URL,
        socket_timeout=timeout_s,
        socket_connect_timeout=timeout_s,
        retry=None,
    )


def doorbell() -> None:
    """Do nothing: a bell only wakes whoever waits at its queue."""


class Bell:
    """The doorbell of one queue; ringing never raises and never takes long."""

    def __init__(self, name: str) -> None:
        self.name = name
        self._silent_until = 0.0

    def __call__(self) -> None:
        if time.monotonic() < self._silent_until:
            return
        try:
            _ring(self.name)
        except RedisError as error:
            self._silent_until = time.monotonic() + SILENCE_AFTER_FAULT_S
            logger.warning(
                "bell %s not rung, workers will look by themselves: %s", self.name, error
            )


def _ring(name: str) -> None:
    """Put a job of RQ into a queue that has none, in one round trip.

    ``enqueue`` takes several, and a bell is what workers are waiting for.
    """
    client = redis_client()
    queue = _queue(name, client)
    job = queue.create_job(doorbell, ttl=BELL_TTL_S, result_ttl=0, failure_ttl=86_400, timeout=60)
    fields = [part for pair in job.to_dict().items() for part in pair]
    keys = [queue.key, job.key, Queue.redis_queues_keys]
    _script(client, RING)(keys=keys, args=[job.id, BELL_TTL_S, *fields])


@cache
def _script(client: redis.Redis, text: str) -> Any:
    return client.register_script(text)


@cache
def bell(name: str) -> Bell:
    """Return the one bell of queue ``name``."""
    return Bell(name)


def ring_after_commit(name: str) -> None:
    """Ring queue ``name`` once when the open transaction has committed."""
    ringer = bell(name)
    if not any(entry[1] is ringer for entry in connection.run_on_commit):
        transaction.on_commit(ringer, robust=True)


class BellWorker(SimpleWorker):
    """An RQ worker that calls back on each bell instead of running it.

    It listens on one queue (only then does RQ move a job instead of popping it), takes no orders
    over Redis, and runs in a thread beside the event loop that does the work.
    """

    death_penalty_class = TimerDeathPenalty
    max_connection_wait_time = 2.0

    def __init__(self, *, queue: str, name: str, on_ring: Callable[[], None]) -> None:
        connection = redis.Redis.from_url(
            settings.REDIS_URL, socket_timeout=LISTEN_TTL_S + 5, socket_connect_timeout=1
        )
        super().__init__(
            [_queue(queue, connection)],
            name=name,
            connection=connection,
            worker_ttl=LISTEN_TTL_S,
            serializer=JSONSerializer,
            log_job_description=False,
        )
        self._on_ring = on_ring

    def execute_job(self, job: Any, queue: Any) -> None:
        """Pass the bell on and forget it, once whoever was woken has had time to look."""
        self._on_ring()
        time.sleep(BELL_FADES_S)
        with self.connection.pipeline() as step:
            step.lrem(queue.intermediate_queue.key, 1, job.id)
            step.delete(job.key)
            step.execute()

    def subscribe(self) -> None:
        """Take no orders over Redis."""

    def unsubscribe(self) -> None:
        """Take no orders over Redis."""

    def _install_signal_handlers(self) -> None:
        """Leave signals to the main thread."""

    @property
    def should_run_maintenance_tasks(self) -> bool:
        """Bells need no maintenance: they expire."""
        return False


def listen(*, queue: str, name: str, on_ring: Callable[[], None], stop: Event) -> None:
    """Hear the bells of ``queue`` until ``stop`` is set; survives any absence of Redis."""
    while not stop.is_set():
        try:
            listener = f"{name}-{uuid4().hex[:6]}"
            BellWorker(queue=queue, name=listener, on_ring=on_ring).work(logging_level="WARNING")
        except RedisError as error:
            logger.warning("not hearing the bells of %s for a moment: %s", queue, error)
        stop.wait(SILENCE_AFTER_FAULT_S)


def forget_worker(name: str) -> None:
    """Strike the listeners of program ``name`` from RQ's list of workers."""
    try:
        for worker in SimpleWorker.all(connection=redis_client(), serializer=JSONSerializer):
            if worker.name.rpartition("-")[0] == name:
                worker.register_death()  # type: ignore[no-untyped-call]
    except RedisError as error:
        logger.info("worker %s stays listed until its entry expires: %s", name, error)


def is_answering() -> bool:
    """Say whether Redis answers within its timeout."""
    try:
        return bool(redis_client().ping())
    except RedisError:
        return False


def eviction_policy() -> str | None:
    """Return what Redis forgets when it is full; None if it does not say."""
    try:
        found = redis_client().config_get("maxmemory-policy")
    except RedisError:
        return None
    return str(found.get("maxmemory-policy", "")) or None


def _queue(name: str, connection: redis.Redis) -> Queue:
    return Queue(name, connection=connection, serializer=JSONSerializer)
