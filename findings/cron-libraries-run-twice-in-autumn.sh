#!/usr/bin/env bash
# A time of day that comes twice when summer time ends is met twice by croniter and APScheduler: a daily job at 02:30 is due two
# times that night, where cron(8) runs it once. APScheduler counts the days of a crontab line from Monday as 0: 1 is a Tuesday.
. "$(dirname "$0")/common.sh"
packages croniter==7.0.0 apscheduler==3.11.3 tzdata==2026.6
seen "30 2 * * * in Berlin, from 2026-10-24
  croniter:    2026-10-25T02:30:00+02:00, 2026-10-25T02:30:00+01:00, 2026-10-26T02:30:00+01:00
  APScheduler: 2026-10-25T02:30:00+02:00, 2026-10-25T02:30:00+01:00, 2026-10-26T02:30:00+01:00
0 9 * * 1
  croniter:    Monday
  APScheduler: Tuesday" <<'PY'
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

from apscheduler.triggers.cron import CronTrigger
from croniter import croniter

BERLIN = ZoneInfo("Europe/Berlin")
EVENING = datetime(2026, 10, 24, 20, tzinfo=BERLIN)


def of_croniter(line, count):
    times = croniter(line, EVENING)
    return [times.get_next(datetime) for _ in range(count)]


def of_apscheduler(line, count):
    """As its scheduler asks: after each run, with the time of that run."""
    trigger, now, times = CronTrigger.from_crontab(line, timezone=BERLIN), EVENING, [None]
    for _ in range(count):
        times.append(trigger.get_next_fire_time(times[-1], now))
        now = (times[-1].astimezone(UTC) + timedelta(seconds=1)).astimezone(BERLIN)
    return times[1:]


LIBRARIES = (("croniter:   ", of_croniter), ("APScheduler:", of_apscheduler))
print("30 2 * * * in Berlin, from 2026-10-24")
for name, due in LIBRARIES:
    print(f"  {name}", ", ".join(time.isoformat() for time in due("30 2 * * *", 3)))
print("0 9 * * 1")
for name, due in LIBRARIES:
    print(f"  {name}", f"{due('0 9 * * 1', 1)[0]:%A}")
PY
