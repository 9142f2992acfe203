"""Tables of the panels of our dashboards; `build.py` writes them as Grafana's JSON.

Panels with one value use `last_over_time(…[$__range])`, so that they also show a run whose process has ended. A metric
without the label `run` belongs to a process; `and on (instance, job)` picks the process of the run.
"""

from __future__ import annotations

from render import Dashboard, Panel

RUN = '{run="$run"}'
OF_RUN = 'and on (instance, job) earwitness_run_info{run="$run"}'
VERSION = (
    "last_over_time(earwitness_build_info[$__range])"
    ' and on (instance, job) last_over_time(earwitness_run_info{run="$run"}[$__range])'
)
PROMISED = 'earwitness_check_violations_total{run="$run", promised="true"}'
OBSERVED = 'earwitness_check_violations_total{run="$run", promised="false"}'
SERVICE_PROCESSES = '{run="$run", process!~"load-.*"}'
LOAD_PROCESSES = '{run="$run", process=~"load-.*"}'
BROKEN = 'earwitness_check_outcome{run="$run", promised="true", outcome="FAIL"}'


def last(series: str, selector: str = RUN) -> str:
    """Return the query of the last value of each series in the time range."""
    return f"last_over_time({series}{selector}[$__range])"


def rate(series: str, selector: str = RUN) -> str:
    """Return the query of the increase a second of each series."""
    return f"rate({series}{selector}[$__rate_interval])"


def quantile(q: str, metric: str, by: str = "") -> str:
    """Return the query of a quantile over time, by the label `by` if it is given."""
    return f"histogram_quantile({q}, sum by ({by + ', ' if by else ''}le) ({rate(f'{metric}_bucket')}))"


def whole(q: str, metric: str, by: str = "") -> str:
    """Return the query of a quantile of the whole run."""
    return f"histogram_quantile({q}, sum by ({by + ', ' if by else ''}le) ({last(f'{metric}_bucket')}))"


def share(unit: str) -> str:
    """Return the query of each threshold's figure in relation to its limit, for limits above 0."""
    return f"{last(f'earwitness_threshold_measured_{unit}')} / ({last(f'earwitness_threshold_limit_{unit}')} > 0)"


AT_LEAST = f"{last('earwitness_threshold_limit_per_second')} / ({last('earwitness_threshold_measured_per_second')} > 0)"
"""Query of the same for lower limits: the limit in relation to the figure, so that beyond 100 % is missed here too."""

CORRECTNESS = Dashboard(
    "correctness",
    "Earwitness: correctness",
    "Verdict of a run: outcome, checks, thresholds.",
    (
        Panel("Outcome", "stat", "Outcome so far; final in the stage finished.",
              ((f"{last('earwitness_outcome')} == 1", "{{outcome}}"),), width=4, names=True),
        Panel("Stage", "stat", "Stage of the run.", ((f"{last('earwitness_run_stage')} == 1", "{{stage}}"),),
              width=4, names=True),
        Panel("Broken promises", "stat", "Promised checks that found a violation.",
              ((f"count({last(BROKEN, '')} == 1) or vector(0)", "checks"),), width=4),
        Panel("Violations of promises", "stat", "All violations that promised checks counted.",
              ((f"sum({last(PROMISED, '')})", "violations"),), width=4),
        Panel("Violations never promised", "stat", "Observations: the contract does not promise these checks.",
              ((f"sum({last(OBSERVED, '')}) or vector(0)", "observations"),), width=4),
        Panel("Opportunities examined", "stat", "Opportunities for a violation that all checks examined.",
              ((f"sum({last('earwitness_check_examined_total')})", "opportunities"),), width=4),
        Panel("Outcome over time", "state-timeline", "When the outcome became what it is.",
              (('sum(earwitness_outcome{run="$run", outcome="UNKNOWN"})'
                ' + 2 * sum(earwitness_outcome{run="$run", outcome="FAIL"})', "outcome"),),
              width=16, maps=("PASS", "UNKNOWN", "FAIL")),
        Panel("Checks by outcome", "bargauge", "How many checks have each outcome.",
              ((f"count by (outcome) ({last('earwitness_check_outcome')} == 1)", "{{outcome}}"),)),
        Panel("Violations by check", "timeseries", "Violations that each check has found so far.",
              ((f"earwitness_check_violations_total{RUN} > 0", "{{check}} {{name}}"),), width=24),
        Panel("Checks", "table", "Each check with opportunities, violations and outcome.",
              ((last("earwitness_check_examined_total"), "examined"),
               (last("earwitness_check_violations_total"), "violations"),
               (f"{last('earwitness_check_outcome')} == 1", "")), width=14),
        Panel("Thresholds", "table", "State of each threshold.",
              ((f"{last('earwitness_threshold_state')} == 1", ""),), width=10),
        Panel("Thresholds: figure / limit", "bargauge", "Missed beyond 100 %. Known at the end, for limits above 0.",
              ((share("seconds"), "{{threshold}}"), (share("bytes"), "{{threshold}}"),
               (share("ratio"), "{{threshold}}"), (AT_LEAST, "{{threshold}}")), unit="percentunit", width=24),
    ),
)  # fmt: skip

LOAD = Dashboard(
    "load",
    "Earwitness: load",
    "What was planned, what was reached, and how long it took.",
    (
        Panel("Messages", "bargauge", "All messages by event.", ((last("earwitness_messages_total"), "{{event}}"),)),
        Panel("Connections", "bargauge", "All connections, and those of devices that had been connected before.",
              ((last("earwitness_connections_opened_total"), "opened"),
               (last("earwitness_reconnections_total"), "reconnections"))),
        Panel("Seconds by stage", "bargauge", "Load, drain (waiting for what is in flight), collection, judging.",
              ((last("earwitness_stage_duration_seconds"), "{{stage}}"),), unit="s"),
        Panel("Users", "timeseries", "Users that Locust runs, users that the run has planned, open connections.",
              ((f"earwitness_users {OF_RUN}", "users"), (f"earwitness_users_planned{RUN}", "planned"),
               (f"earwitness_connections_open{RUN}", "open connections")), width=12),
        Panel("Messages a second", "timeseries", "By event; heard counts each delivery.",
              ((f"sum by (event) ({rate('earwitness_messages_total')})", "{{event}}"),), unit="cps", width=12),
        Panel("Actions a second", "timeseries", "With --arrivals: actions that were to begin, and those that began.",
              ((rate("earwitness_actions_planned_total"), "planned"),
               (rate("earwitness_actions_started_total"), "begun")), unit="cps", width=12),
        Panel("Actions attained", "stat", "Share of the planned actions that have begun. Below 95 % H4 is UNKNOWN.",
              ((f"{last('earwitness_actions_started_total')} / ({last('earwitness_actions_planned_total')} > 0)",
                "attained"),), unit="percentunit", width=4),
        Panel("Fan-out p99", "stat", "Of the whole run, by size of the room.",
              ((whole("0.99", "earwitness_fan_out_seconds", "room"), "{{room}}"),), unit="s", width=4),
        Panel("Answer p99", "stat", "From sending to the acknowledgement, of the whole run.",
              ((whole("0.99", "earwitness_acknowledged_seconds"), "p99"),), unit="s", width=4),
        Panel("Fan-out over time", "timeseries", "From a message's sending to its receipt, by size of the room.",
              ((quantile("0.5", "earwitness_fan_out_seconds", "room"), "p50, room of {{room}}"),
               (quantile("0.99", "earwitness_fan_out_seconds", "room"), "p99, room of {{room}}")), unit="s", width=12),
        Panel("Answers over time", "timeseries", "From a message's sending to its acknowledgement.",
              ((quantile("0.5", "earwitness_acknowledged_seconds"), "p50"),
               (quantile("0.99", "earwitness_acknowledged_seconds"), "p99")), unit="s", width=12),
        Panel("Streamed answers", "timeseries", "Answers of an agent on all connections: begun, ended, and tokens.",
              ((f"sum by (event) ({rate('earwitness_stream_events_total')})", "{{event}}"),), unit="cps", width=24),
        Panel("Connections a second", "timeseries", "Connections opened, and those that are reconnections.",
              ((rate("earwitness_connections_opened_total"), "opened"),
               (rate("earwitness_reconnections_total"), "reconnections")), unit="cps", width=8),
        Panel("Loop lag", "timeseries", "How late load processes wake. Above 0.1 s no measured time can be trusted.",
              ((f'earwitness_loop_lag_seconds{{statistic="p99"}} {OF_RUN}', "{{process}}"),), unit="s", width=8),
        Panel("Records judged a second", "timeseries", "How fast the judge reads.",
              ((rate("earwitness_records_judged_total"), "records"),), unit="cps", width=8),
    ),
)  # fmt: skip

SERVICES = Dashboard(
    "services",
    "Earwitness: services",
    "Processes of the platform and of the tester, and faults.",
    (
        Panel("Processor by process", "timeseries", "Cores that each process uses; load-N is a load process.",
              ((rate("earwitness_process_cpu_seconds_total"), "{{process}}"),), width=12),
        Panel("Memory by process", "timeseries", "Resident memory.",
              ((f"earwitness_process_resident_memory_bytes{RUN}", "{{process}}"),), unit="decbytes", width=12),
        Panel("Processor time", "bargauge", "Of each process since its start.",
              ((last("earwitness_process_cpu_seconds_total"), "{{process}}"),), unit="s", width=12),
        Panel("Highest memory", "bargauge", "Of each process in this run, as in the threshold `memory of`.",
              ((last("earwitness_process_resident_memory_peak_bytes"), "{{process}}"),), unit="decbytes", width=12),
        Panel("Platform and tester", "timeseries", "Cores of the services, of the load processes, and of the judge.",
              ((f"sum({rate('earwitness_process_cpu_seconds_total', SERVICE_PROCESSES)})", "services"),
               (f"sum({rate('earwitness_process_cpu_seconds_total', LOAD_PROCESSES)})", "load"),
               (rate("earwitness_judge_cpu_seconds_total"), "judge")), width=12),
        Panel("Open files", "timeseries", "File descriptors of each process, sockets among them.",
              ((f"earwitness_process_open_fds{RUN}", "{{process}}"),), width=12),
        Panel("Faults on", "timeseries", "How many faults of each name are on.",
              ((f"earwitness_fault_active{RUN}", "{{fault}}"),), width=12),
        Panel("Faults", "table", "How often each fault was injected, and how often it had no effect.",
              ((last("earwitness_fault_injections_total"), "injected"),
               (last("earwitness_fault_failures_total"), "without effect")), width=12),
        Panel("Processor time of the judge", "stat", "Beside the load, at a lower priority.",
              ((last("earwitness_judge_cpu_seconds_total"), "judge"),), unit="s"),
        Panel("Age of the verdict", "stat", "Time since the judge last published, which it does after new records.",
              ((f"time() - {last('earwitness_verdict_timestamp_seconds')}", "age"),), unit="s"),
        Panel("Version", "stat", "Of the tester.",
              ((VERSION, "{{version}}"),), names=True),
    ),
)  # fmt: skip

DASHBOARDS = (CORRECTNESS, LOAD, SERVICES)
