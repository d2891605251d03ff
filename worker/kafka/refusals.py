"""Sentences about Kafka's errors: what happened, and what to set where Kafka refuses something."""

from aiokafka.errors import (
    GroupAuthorizationFailedError,
    IllegalSaslStateError,
    InconsistentGroupProtocolError,
    InvalidTimestampError,
    KafkaError,
    KafkaTimeoutError,
    NodeNotReadyError,
    SaslAuthenticationFailed,
    TopicAuthorizationFailedError,
    UnsupportedSaslMechanismError,
)

from worker.cancelled import GivenUpError

TOPIC_RIGHTS = "Describe, DescribeConfigs, Read and Write"
GROUP_RIGHTS = "Describe and Read"


def refusal(problem: BaseException) -> str | None:  # noqa: PLR0911 - a table
    """The end of a sentence that begins with Kafka's name; None if the error is no refusal."""
    match problem:
        case SaslAuthenticationFailed():
            return "does not let us in: check KAFKA_SASL_USERNAME and KAFKA_SASL_PASSWORD, read at the start only"
        case UnsupportedSaslMechanismError():
            return "does not offer the login mechanism of KAFKA_SASL_MECHANISM"
        case IllegalSaslStateError():
            return "expects no login at this address: check KAFKA_SECURITY_PROTOCOL and KAFKA_BOOTSTRAP_SERVERS"
        case TopicAuthorizationFailedError():
            return f"does not allow our user the topic {_about(problem)}: it needs {TOPIC_RIGHTS}"
        case GroupAuthorizationFailedError():
            return f"does not allow our user the group {_about(problem)}: it needs {GROUP_RIGHTS}"
        case InconsistentGroupProtocolError():
            return "does not admit us to our group: a program of another kind is in it; end that one first"
        case InvalidTimestampError():
            return "refuses our records, whose time is too far from its own: set this machine's clock, or the brokers'"
        case _:
            return None


def describe_kafka_error(problem: BaseException, kafka: str = "Kafka") -> str:
    """A sentence about any error of Kafka, which `kafka` names."""
    if predicate := refusal(problem):
        return f"{kafka} {predicate}"
    match problem:
        case KafkaTimeoutError(args=()):  # from the producer's queue, without a message
            return f"{kafka} did not accept what was written in time"
        case NodeNotReadyError():  # its message names a broker, and would be a new problem for each
            return f"{kafka} is not ready: a broker that we need cannot be reached"
        case GivenUpError():
            return f"{kafka}: the connection broke while an answer was awaited"
        case TimeoutError():
            return f"{kafka} did not answer in time"
        case _:
            kind = (
                "" if isinstance(problem, KafkaError) else f"{type(problem).__name__}: "
            )  # its text begins with its class
            return f"{kafka}: {kind}{problem}"


def _about(problem: KafkaError) -> str:
    """The names in the error: aiokafka gives one or a set."""
    return ", ".join(name for names in problem.args for name in ([names] if isinstance(names, str) else sorted(names)))
