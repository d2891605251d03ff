"""`python -m tests.bench [WHAT …]`: measures and prints; with `--write` into docs/benchmarks.md as well."""

import argparse
import asyncio
from collections.abc import Awaitable, Callable

import uvloop

from tests.bench import (
    bulkhead,
    command,
    delivery,
    growth,
    kills,
    latency,
    ledger,
    memory,
    ops,
    outage,
    profile,
    rules,
    scaling,
    waiting,
)  # fmt: skip
from tests.bench.deployment import running_stack
from tests.bench.page import Section
from worker.stack import StackEnv

Benchmark = Callable[[StackEnv, argparse.Namespace], Awaitable[Section]]


async def _rules(stack: StackEnv, asked: argparse.Namespace) -> Section:
    return rules.section(rules.run(asked.rounds))


async def _ledger(stack: StackEnv, asked: argparse.Namespace) -> Section:
    return ledger.section(await ledger.run(stack, asked.rounds, asked.orders))


async def _delivery(stack: StackEnv, asked: argparse.Namespace) -> Section:
    return delivery.section(await delivery.run(stack, asked.rounds, asked.commands))


async def _waiting(stack: StackEnv, asked: argparse.Namespace) -> Section:
    return waiting.section(await waiting.run(stack, asked.waiting))


async def _latency(stack: StackEnv, asked: argparse.Namespace) -> Section:
    return latency.section(await latency.run(stack, asked.rounds, asked.seconds))


async def _bulkhead(stack: StackEnv, asked: argparse.Namespace) -> Section:
    return bulkhead.section(await bulkhead.run(stack, asked.rounds))


async def _outage(stack: StackEnv, asked: argparse.Namespace) -> Section:
    return outage.section(await outage.run(stack, asked.outage))


async def _ops(stack: StackEnv, asked: argparse.Namespace) -> Section:
    return ops.section(await ops.run(stack, asked.open))


async def _command(stack: StackEnv, asked: argparse.Namespace) -> Section:
    return command.section(*await command.run(stack, asked.seconds, asked.orders))


async def _memory(stack: StackEnv, asked: argparse.Namespace) -> Section:
    return memory.section(await memory.run(stack, asked.passing))


async def _profile(stack: StackEnv, asked: argparse.Namespace) -> Section:
    return profile.section(await profile.run(stack, asked.orders))


async def _scaling(stack: StackEnv, asked: argparse.Namespace) -> Section:
    return scaling.section(await scaling.run(stack, asked.rounds, asked.orders))


async def _growth(stack: StackEnv, asked: argparse.Namespace) -> Section:
    return growth.section(*await growth.run(stack, asked.rounds, asked.orders, asked.entries))


async def _kills(_stack: StackEnv, asked: argparse.Namespace) -> Section:
    return kills.section(await kills.run(asked.rounds, asked.backlog))


ALL: dict[str, Benchmark] = {
    "rules": _rules, "ledger": _ledger, "delivery": _delivery, "waiting": _waiting, "latency": _latency,
    "outage": _outage, "ops": _ops, "bulkhead": _bulkhead, "command": _command, "memory": _memory,
    "scaling": _scaling, "growth": _growth, "profile": _profile, "kills": _kills,
}  # fmt: skip
USUAL = ("rules", "ledger", "profile", "delivery", "waiting", "latency", "bulkhead")


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.bench", description=__doc__)
    parser.add_argument("what", nargs="*", default=USUAL, help=f"{', '.join(ALL)}; else {', '.join(USUAL)}")
    parser.add_argument("--write", action="store_true", help="rewrite the sections of docs/benchmarks.md")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--orders", type=int, default=10_000)
    parser.add_argument("--commands", type=int, default=8_000, help="of a round of delivery")
    parser.add_argument("--waiting", type=int, default=1_000_000, help="commands that wait")
    parser.add_argument("--seconds", type=int, default=20, help="of the measurement of latency")
    parser.add_argument(
        "--open", type=int, default=ops.ORDERS, help="orders in front of which the ops view is looked at"
    )
    parser.add_argument("--backlog", type=int, default=600_000, help="invoices in front of a worker, for kills")
    parser.add_argument("--passing", type=int, default=100_000, help="orders that pass while memory is looked at")
    parser.add_argument("--entries", type=int, default=10_000_000, help="that the full ledger holds, for growth")
    parser.add_argument("--outage", type=int, default=60, help="seconds for which the connector is away")
    asked = parser.parse_args()
    with running_stack() as stack, asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        for name in asked.what:
            print(f"{name}:", flush=True)
            section = runner.run(ALL[name](stack, asked))
            print(f"\n{section.content}\n", flush=True)
            if asked.write:
                section.write()


if __name__ == "__main__":
    main()
