"""A protoc plugin that writes the gRPC stubs.

grpcio-tools carries that generator inside its protoc and not as a plugin, which is what buf runs. This lends it the
plugin's manners: a CodeGeneratorRequest on standard input, a CodeGeneratorResponse on standard output.
"""

import sys
import tempfile
from pathlib import Path

from google.protobuf.compiler import plugin_pb2
from google.protobuf.descriptor_pb2 import FileDescriptorSet
from grpc_tools import protoc


def main() -> int:
    request = plugin_pb2.CodeGeneratorRequest.FromString(sys.stdin.buffer.read())
    response = plugin_pb2.CodeGeneratorResponse(
        supported_features=plugin_pb2.CodeGeneratorResponse.FEATURE_PROTO3_OPTIONAL
    )
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "in.binpb").write_bytes(FileDescriptorSet(file=request.proto_file).SerializeToString())
        (folder / "out").mkdir()
        code = protoc.main(
            ["protoc", f"--descriptor_set_in={folder / 'in.binpb'}", f"--grpc_python_out={folder / 'out'}"]
            + list(request.file_to_generate)
        )
        if code != 0:
            return code
        for path in sorted((folder / "out").rglob("*.py")):
            response.file.add(name=path.relative_to(folder / "out").as_posix(), content=path.read_text("utf-8"))
    sys.stdout.buffer.write(response.SerializeToString())
    return 0


if __name__ == "__main__":
    sys.exit(main())
