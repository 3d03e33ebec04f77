"""The console's pages: a module each, with its `router` and, where the navigation names it, its `PAGE`."""

from web.pages import (
    audit,
    budgets,
    channels,
    endpoint_agents,
    endpoints,
    load,
    overview,
    queues,
    runs,
    runs_compare,
    runs_detail,
    task,
    task_bulk,
    task_form,
    task_trial,
    tasks,
    users,
    why,
    words,
    workers,
)

#: In the order of the navigation.
PAGES = (
    overview.PAGE, tasks.PAGE, runs.PAGE, load.PAGE, endpoints.PAGE, queues.PAGE, workers.PAGE, budgets.PAGE,
    channels.PAGE, audit.PAGE, users.PAGE,
)  # fmt: skip
ROUTERS = (
    overview.router, tasks.router, task_bulk.router, task_form.router, task_trial.router, task.router,
    runs.router, runs_compare.router, runs_detail.router, load.router, endpoints.router, queues.router,
    endpoint_agents.router, workers.router, budgets.router, channels.router, audit.router, users.router,
    words.router, why.router,
)  # fmt: skip
