"""Command line of the benchmarks: `python benchmarks/run.py --workload noop,mlp --peers bare,fastapi,tiffin`; needs the standard library only."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from pathlib import Path

if __name__ == "__main__":  # run as a file, Python looks for modules beside it, not in the repository
    sys.path[0] = str(Path(__file__).resolve().parent.parent)

from benchmarks import catalog, checks, envs, load, report, suite


def _list_of(known: tuple[str, ...]) -> Callable[[str], list[str]]:
    def parse(text: str) -> list[str]:
        names = [name.strip() for name in text.split(",") if name.strip()]
        for name in names:
            if name not in known:
                message = f"unknown {name!r}; known are {', '.join(known)}"
                raise argparse.ArgumentTypeError(message)
        return names

    return parse


def _parse(arguments: list[str]) -> argparse.Namespace:
    everything = (*catalog.WORKLOADS, *checks.CHECKS)
    parser = argparse.ArgumentParser(prog="python benchmarks/run.py", description=__doc__)
    parser.add_argument(
        "--workload",
        type=_list_of(everything),
        default=list(everything),
        metavar="A,B",
        help=f"of {', '.join(everything)} (default: all)",
    )
    parser.add_argument(
        "--peers",
        type=_list_of(tuple(catalog.PEERS)),
        default=list(catalog.PEERS),
        metavar="A,B",
        help=f"of {', '.join(catalog.PEERS)} (default: all)",
    )
    parser.add_argument("--rounds", type=int, default=3, help="how often everything runs, interleaved (default: 3)")
    parser.add_argument("--seconds", type=float, default=5, help="of load per measurement (default: 5)")
    parser.add_argument("--warm", type=float, default=2, help="seconds of load before it, not counted (default: 2)")
    parser.add_argument("--connections", type=int, default=64, help="kept alive, one call each (default: 64)")
    parser.add_argument("--chart", action="store_true", help="write docs/benchmarks.md and docs/benchmarks.svg")
    parser.add_argument("--no-results", action="store_true", help="do not write docs/results/bench-*.json")
    parser.add_argument("--from", dest="source", type=Path, metavar="JSON", help="report on a file of results instead")
    parsed = parser.parse_args(arguments)
    parsed.chart = parsed.chart or not arguments
    return parsed


def _usable(names: list[str], failures: dict[str, str]) -> list[catalog.Peer]:
    """Make the peers' environments; one that can't be made is left out, with the reason."""
    peers: list[catalog.Peer] = []
    for name in names:
        peer = catalog.PEERS[name]
        try:
            envs.ensure(peer.environment)
        except envs.NoEnvironment as error:
            failures[name] = str(error)
            print(f"{name} left out: {error}", file=sys.stderr)
        else:
            peers.append(peer)
    return peers


def main(arguments: list[str]) -> int:
    """Measure and report.

    Args:
        arguments: of the command line, without the program.

    Returns:
        Exit status: 0, or 1 when a selected peer or check failed.
    """
    options = _parse(arguments)
    if options.source is not None:
        results = report.read(options.source)
        print(report.text(results))
        if options.chart:
            report.write_docs(results)
        return 0
    try:
        load.require_wrk()
    except load.MissingWrk as error:
        print(error, file=sys.stderr)
        return 1
    failures: dict[str, str] = {}
    peers = _usable(options.peers, failures)
    results = report.Results.begin("python benchmarks/run.py " + " ".join(arguments), peers, failures)
    workloads = [name for name in catalog.WORKLOADS if name in options.workload]
    plan = suite.Plan(workloads, peers, options.rounds, options.seconds, options.warm, options.connections)
    try:
        for sample in suite.run(plan, failures):
            results.samples.append(sample.as_dict())
        wanted = [name for name in checks.CHECKS if name in options.workload]
        for finding in checks.run(wanted, options.rounds, options.seconds, failures):
            results.findings.append(finding)
    except KeyboardInterrupt:
        print("stopped; what was measured so far:", file=sys.stderr)
    print(report.text(results))
    if not options.no_results:
        print(f"results: {report.write(results)}")
    if options.chart:
        report.write_docs(results)
    return 1 if failures else 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
