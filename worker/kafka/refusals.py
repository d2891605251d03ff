"""What Kafka does not allow, and what has to be set so that it does."""

from aiokafka.errors import (
    GroupAuthorizationFailedError,
    InvalidTimestampError,
    KafkaError,
    SaslAuthenticationFailed,
    TopicAuthorizationFailedError,
    UnsupportedSaslMechanismError,
)

TOPIC_RIGHTS = "Describe, DescribeConfigs, Read and Write"
GROUP_RIGHTS = "Describe and Read"


def refusal(problem: BaseException) -> str | None:
    """The end of a sentence that begins with Kafka's name; None: it is no refusal."""
    match problem:
        case SaslAuthenticationFailed():
            return "does not let us in: check KAFKA_SASL_USERNAME and KAFKA_SASL_PASSWORD"
        case UnsupportedSaslMechanismError():
            return "takes another log-in than KAFKA_SASL_MECHANISM says"
        case TopicAuthorizationFailedError():
            return topic_refusal(_about(problem))
        case GroupAuthorizationFailedError():
            return f"does not allow our user the group {_about(problem)}: it needs {GROUP_RIGHTS}"
        case InvalidTimestampError():
            return "refuses the time of our clock, too far from its own: set this machine's clock, or the brokers'"
        case _:
            return None


def topic_refusal(topic: str) -> str:
    return f"does not allow our user the topic {topic}: it needs {TOPIC_RIGHTS}"


def _about(problem: KafkaError) -> str:
    """One name or a set of names, as aiokafka gives them."""
    return ", ".join(one for given in problem.args for one in ([given] if isinstance(given, str) else sorted(given)))
