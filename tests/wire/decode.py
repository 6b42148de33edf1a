"""Reads a Remote-Write request with the published schemas and prints what it says as JSON.

    decode.py <message> <file>

Every field stands there by its name. A double is a text: Python's shortest one, and where it is not a
number its bits. Fields that the schema does not know are an error.
"""

import json
import math
import struct
import sys
import tempfile
from pathlib import Path

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.unknown_fields import UnknownFieldSet
from grpc_tools import protoc

SCHEMAS = Path(__file__).parent / "proto"
FILES = ["remote.proto", "io/prometheus/write/v2/types.proto"]


def message_class(name):
    """The class of a message, generated from the schemas."""
    with tempfile.TemporaryDirectory() as folder:
        compiled = Path(folder) / "schemas"
        include = Path(protoc.__file__).parent / "_proto"
        arguments = [f"-I{SCHEMAS}", f"-I{include}", "--include_imports"]
        if protoc.main(["protoc", *arguments, f"--descriptor_set_out={compiled}", *FILES]) != 0:
            sys.exit("the schemas cannot be compiled")
        files = descriptor_pb2.FileDescriptorSet.FromString(compiled.read_bytes())
    pool = descriptor_pool.DescriptorPool()
    for file in files.file:
        pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName(name))


def number(value):
    if math.isnan(value):
        return f"NaN {struct.unpack('<Q', struct.pack('<d', value))[0]:016x}"
    return repr(value)


def value_of(field, value):
    if field.type == FieldDescriptor.TYPE_MESSAGE:
        return content(value)
    if field.type == FieldDescriptor.TYPE_DOUBLE:
        return number(value)
    if field.type == FieldDescriptor.TYPE_ENUM:
        return field.enum_type.values_by_number[value].name
    return value


def content(message):
    if len(UnknownFieldSet(message)) > 0:
        sys.exit(f"{message.DESCRIPTOR.full_name} has fields that the schema does not know")
    return {
        field.name: [value_of(field, one) for one in value]
        if field.is_repeated
        else value_of(field, value)
        for field, value in message.ListFields()
    }


def main():
    name, path = sys.argv[1:]
    message = message_class(name).FromString(Path(path).read_bytes())
    json.dump(content(message), sys.stdout, ensure_ascii=False, indent=1)


main()
