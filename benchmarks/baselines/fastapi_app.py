"""A plain intake endpoint: FastAPI, pydantic, asynchronous SQLAlchemy, one transaction a request.

It checks a key against a stored hash, keeps a limit by key that all its processes share, knows
idempotency keys, answers after the signal and its trail line are committed, and queues its work.
Written as the documentation of its parts teaches it.
"""

from __future__ import annotations

import hashlib
import json
import os
import time
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Annotated
from urllib.parse import unquote, urlsplit

import redis.asyncio as redis
from fastapi import Depends, FastAPI, Header, HTTPException
from pydantic import BaseModel, Field
from sqlalchemy import JSON, DateTime, Float, String, UniqueConstraint, select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker, create_async_engine
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

PER_MIN = 100_000_000
parts = urlsplit(os.environ["DATABASE_URL"])
engine = create_async_engine(
    f"postgresql+asyncpg://{parts.username}@/{parts.path.lstrip('/')}"
    f"?host={unquote(parts.hostname or '')}",
    pool_size=20,
    max_overflow=20,
)
sessions = async_sessionmaker(engine, expire_on_commit=False)
cache = redis.from_url(os.environ["REDIS_URL"])


class Base(DeclarativeBase):
    """All tables."""


class Key(Base):
    """An API key, by its hash."""

    __tablename__ = "plain_key"
    sha256: Mapped[str] = mapped_column(String(64), primary_key=True)
    name: Mapped[str] = mapped_column(String(64))


class Signal(Base):
    """A signal as it was accepted."""

    __tablename__ = "plain_signal"
    __table_args__ = (UniqueConstraint("owner", "idempotency_key"),)
    id: Mapped[uuid.UUID] = mapped_column(primary_key=True, default=uuid.uuid4)
    owner: Mapped[str] = mapped_column(String(64))
    idempotency_key: Mapped[str | None] = mapped_column(String(255))
    body_sha256: Mapped[str] = mapped_column(String(64))
    symbol: Mapped[str] = mapped_column(String(20))
    direction: Mapped[str] = mapped_column(String(11))
    entry_price: Mapped[float] = mapped_column(Float)
    size: Mapped[float] = mapped_column(Float)
    body: Mapped[dict[str, object]] = mapped_column(JSON)
    received_at: Mapped[datetime] = mapped_column(DateTime(timezone=True))


class Line(Base):
    """One line of a signal's timeline."""

    __tablename__ = "plain_line"
    id: Mapped[int] = mapped_column(primary_key=True)
    signal_id: Mapped[uuid.UUID]
    verb: Mapped[str] = mapped_column(String(32))
    at: Mapped[datetime] = mapped_column(DateTime(timezone=True))


class Body(BaseModel):
    """What is sent."""

    event_type: str
    symbol: str = Field(max_length=20)
    signal_direction: str
    entry_price: float = Field(gt=0)
    size: float = Field(gt=0)
    liquidation_price: float | None = None
    ts_utc: datetime
    source: str = Field(max_length=100)


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    """Make the tables and the key."""
    async with engine.begin() as connection:
        await connection.run_sync(Base.metadata.create_all)
    async with sessions() as session, session.begin():
        digest = hashlib.sha256(os.environ["BENCH_KEY"].encode()).hexdigest()
        if await session.get(Key, digest) is None:
            session.add(Key(sha256=digest, name="bench"))
    yield
    await engine.dispose()
    await cache.aclose()


app = FastAPI(lifespan=lifespan)


async def session_of_request() -> AsyncIterator[AsyncSession]:
    """Yield a session."""
    async with sessions() as session:
        yield session


Session = Annotated[AsyncSession, Depends(session_of_request)]


async def owner_of(session: Session, x_api_key: Annotated[str, Header()]) -> str:
    """Return whose key this is, and count the call against its limit."""
    key = await session.get(Key, hashlib.sha256(x_api_key.encode()).hexdigest())
    if key is None:
        raise HTTPException(401)
    minute = f"plain:{key.name}:{int(time.time() // 60)}"
    async with cache.pipeline() as steps:
        calls, _ = await steps.incr(minute).expire(minute, 60).execute()
    if calls > PER_MIN:
        raise HTTPException(429)
    return key.name


@app.post("/api/v1/signals", status_code=201)
async def accept(
    body: Body,
    session: Session,
    owner: Annotated[str, Depends(owner_of)],
    idempotency_key: Annotated[str | None, Header()] = None,
) -> dict[str, str]:
    """Store a signal for good."""
    told = body.model_dump(mode="json")
    digest = hashlib.sha256(json.dumps(told, sort_keys=True).encode()).hexdigest()
    now = datetime.now(UTC)
    signal = Signal(
        id=uuid.uuid4(),
        owner=owner,
        idempotency_key=idempotency_key,
        body_sha256=digest,
        symbol=body.symbol,
        direction=body.signal_direction,
        entry_price=body.entry_price,
        size=body.size,
        body=told,
        received_at=now,
    )
    session.add_all([signal, Line(signal_id=signal.id, verb="RECEIVED", at=now)])
    try:
        await session.commit()
    except IntegrityError:
        await session.rollback()
        found = select(Signal).where(
            Signal.owner == owner, Signal.idempotency_key == idempotency_key
        )
        signal = (await session.execute(found)).scalar_one()
        if signal.body_sha256 != digest:
            raise HTTPException(422) from None
    else:
        await cache.xadd("plain:work", {"signal": str(signal.id)}, maxlen=10_000)
    return {"event_id": str(signal.id), "status": "ENQUEUED"}
