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
            return "takes another log-in than KAFKA_SASL_MECHANISM says"
        case IllegalSaslStateError():
            return "takes no log-in at this address: KAFKA_SECURITY_PROTOCOL or KAFKA_BOOTSTRAP_SERVERS is another's"
        case TopicAuthorizationFailedError():
            return topic_refusal(_about(problem))
        case GroupAuthorizationFailedError():
            return f"does not allow our user the group {_about(problem)}: it needs {GROUP_RIGHTS}"
        case InconsistentGroupProtocolError():
            return "does not take us into our group: a program of another kind is in it, which has to end first"
        case InvalidTimestampError():
            return "refuses the time of our clock, too far from its own: set this machine's clock, or the brokers'"
        case _:
            return None


def describe_kafka_error(problem: BaseException, kafka: str = "Kafka") -> str:
    """A sentence about any error of Kafka, which `kafka` names."""
    if predicate := refusal(problem):
        return f"{kafka} {predicate}"
    match problem:
        case KafkaTimeoutError(args=()):  # from the producer's queue, without a message
            return f"{kafka} has not taken what was written in time"
        case NodeNotReadyError():  # its message names a broker, and would be a new problem for each
            return f"{kafka} is not ready: a broker that we need cannot be reached"
        case GivenUpError():
            return f"{kafka}: the connection broke over which an answer was to come"
        case TimeoutError():
            return f"{kafka} did not answer in time"
        case _:
            kind = (
                "" if isinstance(problem, KafkaError) else f"{type(problem).__name__}: "
            )  # its text begins with its class
            return f"{kafka}: {kind}{problem}"


def topic_refusal(topic: str) -> str:
    return f"does not allow our user the topic {topic}: it needs {TOPIC_RIGHTS}"


def _about(problem: KafkaError) -> str:
    """The names in the error: aiokafka gives one or a set."""
    return ", ".join(name for names in problem.args for name in ([names] if isinstance(names, str) else sorted(names)))
