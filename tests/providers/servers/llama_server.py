"""llama.cpp's server with one small model, until it is ended: `python llama_server.py PORT MODEL_FILE`."""

import sys
import threading

import xllamacpp


def main(port: int, model_file: str) -> None:
    params = xllamacpp.CommonParams()
    params.model.path = model_file
    params.hostnames = ["127.0.0.1"]
    params.port = port
    params.n_ctx = 2048
    params.n_parallel = 2
    params.cpuparams.n_threads = 1  # two wait for each other, spinning, where the machine has other work
    server = xllamacpp.Server(params)
    print(f"listening on {server.listening_address}", flush=True)  # noqa: T201 - a program's output
    threading.Event().wait()


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2])
