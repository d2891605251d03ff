"""`python -m tests.bench [BENCHMARK …]`: runs benchmarks and prints results; `--write` updates docs/benchmarks.md."""

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


async def _rules(stack: StackEnv, arguments: argparse.Namespace) -> Section:
    return rules.section(rules.run(arguments.rounds))


async def _ledger(stack: StackEnv, arguments: argparse.Namespace) -> Section:
    return ledger.section(await ledger.run(stack, arguments.rounds, arguments.orders))


async def _delivery(stack: StackEnv, arguments: argparse.Namespace) -> Section:
    return delivery.section(await delivery.run(stack, arguments.rounds, arguments.commands))


async def _waiting(stack: StackEnv, arguments: argparse.Namespace) -> Section:
    return waiting.section(await waiting.run(stack, arguments.waiting))


async def _latency(stack: StackEnv, arguments: argparse.Namespace) -> Section:
    return latency.section(await latency.run(stack, arguments.rounds, arguments.seconds))


async def _bulkhead(stack: StackEnv, arguments: argparse.Namespace) -> Section:
    return bulkhead.section(await bulkhead.run(stack, arguments.rounds))


async def _outage(stack: StackEnv, arguments: argparse.Namespace) -> Section:
    return outage.section(await outage.run(stack, arguments.outage))


async def _ops(stack: StackEnv, arguments: argparse.Namespace) -> Section:
    return ops.section(await ops.run(stack, arguments.open))


async def _command(stack: StackEnv, arguments: argparse.Namespace) -> Section:
    return command.section(*await command.run(stack, arguments.seconds, arguments.orders))


async def _memory(stack: StackEnv, arguments: argparse.Namespace) -> Section:
    return memory.section(await memory.run(stack, arguments.passing))


async def _profile(stack: StackEnv, arguments: argparse.Namespace) -> Section:
    return profile.section(await profile.run(stack, arguments.orders))


async def _scaling(stack: StackEnv, arguments: argparse.Namespace) -> Section:
    return scaling.section(await scaling.run(stack, arguments.rounds, arguments.orders))


async def _growth(stack: StackEnv, arguments: argparse.Namespace) -> Section:
    return growth.section(*await growth.run(stack, arguments.rounds, arguments.orders, arguments.entries))


async def _kills(_stack: StackEnv, arguments: argparse.Namespace) -> Section:
    return kills.section(await kills.run(arguments.rounds, arguments.backlog))


BENCHMARKS: dict[str, Benchmark] = {
    "rules": _rules, "ledger": _ledger, "delivery": _delivery, "waiting": _waiting, "latency": _latency,
    "outage": _outage, "ops": _ops, "bulkhead": _bulkhead, "command": _command, "memory": _memory,
    "scaling": _scaling, "growth": _growth, "profile": _profile, "kills": _kills,
}  # fmt: skip
DEFAULT = ("rules", "ledger", "profile", "delivery", "waiting", "latency", "bulkhead")


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.bench", description=__doc__)
    parser.add_argument(
        "benchmarks", nargs="*", default=DEFAULT, help=f"of {', '.join(BENCHMARKS)}; default: {', '.join(DEFAULT)}"
    )
    parser.add_argument("--write", action="store_true", help="replace their sections of docs/benchmarks.md")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--orders", type=int, default=10_000)
    parser.add_argument("--commands", type=int, default=8_000, help="commands in a round of delivery")
    parser.add_argument("--waiting", type=int, default=1_000_000, help="waiting commands")
    parser.add_argument("--seconds", type=int, default=20, help="duration of latency and command")
    parser.add_argument("--open", type=int, default=ops.ORDERS, help="open orders in the ops view")
    parser.add_argument("--backlog", type=int, default=1_900_000, help="invoices that wait for the worker, for kills")
    parser.add_argument("--passing", type=int, default=100_000, help="orders to process, for memory")
    parser.add_argument("--entries", type=int, default=10_000_000, help="entries of the full ledger, for growth")
    parser.add_argument("--outage", type=int, default=60, help="seconds for which the connector is unavailable")
    arguments = parser.parse_args()
    with running_stack() as stack, asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        for name in arguments.benchmarks:
            print(f"{name}:", flush=True)
            section = runner.run(BENCHMARKS[name](stack, arguments))
            print(f"\n{section.content}\n", flush=True)
            if arguments.write:
                section.write()


if __name__ == "__main__":
    main()
