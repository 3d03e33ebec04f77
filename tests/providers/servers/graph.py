"""Two graphs without a model, for LangGraph Server: `talk` obeys what its message says, `report` fills a state."""

import asyncio
from typing import Any, TypedDict

from langchain_core.messages import AIMessage
from langgraph.graph import END, START, MessagesState, StateGraph
from langgraph.types import interrupt

USAGE: Any = {"input_tokens": 11, "output_tokens": 7, "total_tokens": 18}


async def answer(state: MessagesState) -> dict[str, Any]:
    asked = str(state["messages"][-1].content)
    word, _, rest = asked.partition(" ")
    match word:
        case "fail":
            raise ValueError(rest)
        case "ask":
            return {"messages": [AIMessage(f"a human said {interrupt({'question': rest})}")]}
        case "sleep":
            await asyncio.sleep(float(rest))
        case "loop":
            return {"messages": [AIMessage("", usage_metadata=USAGE)]}
        case "nothing":
            return {"messages": [AIMessage("")]}
    return {"messages": [AIMessage(f"echo: {asked}", usage_metadata=USAGE)]}


def after(state: MessagesState) -> str:
    return "answer" if str(state["messages"][0].content) == "loop" else END


class Report(TypedDict, total=False):
    day: str
    report: dict[str, Any]


async def write(state: Report) -> Report:
    return {"report": {"text": f"report of {state['day']}", "pages": 3}}


talk_builder = StateGraph(MessagesState)
talk_builder.add_node("answer", answer)
talk_builder.add_edge(START, "answer")
talk_builder.add_conditional_edges("answer", after)
talk = talk_builder.compile()

report_builder = StateGraph(Report)
report_builder.add_node("write", write)
report_builder.add_edge(START, "write")
report_builder.add_edge("write", END)
report = report_builder.compile()
