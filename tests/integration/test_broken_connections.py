"""Connections to Kafka that break under their client."""

import asyncio
import os
import socket

import uvloop
from aiokafka.conn import create_conn
from aiokafka.errors import KafkaConnectionError
from aiokafka.protocol.metadata import MetadataRequest

import worker.kafka.connecting  # noqa: F401 - what is to be seen is installed there
from worker.stack import StackEnv


def test_a_connection_that_broke_a_moment_ago_is_kafkas_trouble_and_nothing_that_ends_the_worker(stack: StackEnv):
    host, port = stack.bootstrap_servers.split(":")

    async def write_until_it_is_told() -> str:
        connection = await create_conn(host, int(port))
        with socket.socket(fileno=os.dup(connection._writer.get_extra_info("socket").fileno())) as same:
            same.shutdown(socket.SHUT_WR)
        try:
            while True:
                connection.send(MetadataRequest([]), expect_response=False).close()
                await asyncio.sleep(0)
        except KafkaConnectionError as problem:
            return str(problem)

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:  # as the program has it
        assert "broken" in runner.run(write_until_it_is_told())
