package e2e_test

import (
	"testing"

	"google.golang.org/grpc"
	reflectionpb "google.golang.org/grpc/reflection/grpc_reflection_v1"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protodesc"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/descriptorpb"
	"google.golang.org/protobuf/types/dynamicpb"
)

// callByReflection makes a call as grpcurl does: it learns the method's messages from the server and translates from and to JSON. It
// uses no generated code of ours.
func callByReflection(t *testing.T, conn *grpc.ClientConn, service, method, request string) string {
	t.Helper()
	m := describeService(t, conn, service).Methods().ByName(protoreflect.Name(method))
	if m == nil {
		t.Fatalf("the server knows no method %s of %s", method, service)
	}
	in, out := dynamicpb.NewMessage(m.Input()), dynamicpb.NewMessage(m.Output())
	if err := protojson.Unmarshal([]byte(request), in); err != nil {
		t.Fatal(err)
	}
	if err := conn.Invoke(t.Context(), "/"+service+"/"+method, in, out); err != nil {
		t.Fatalf("calling %s: %v", method, err)
	}
	text, err := protojson.Marshal(out)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// describeService asks the server for the files that describe a service.
func describeService(t *testing.T, conn *grpc.ClientConn, service string) protoreflect.ServiceDescriptor {
	t.Helper()
	stream, err := reflectionpb.NewServerReflectionClient(conn).ServerReflectionInfo(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = stream.CloseSend() }()
	if err := stream.Send(&reflectionpb.ServerReflectionRequest{
		MessageRequest: &reflectionpb.ServerReflectionRequest_FileContainingSymbol{FileContainingSymbol: service},
	}); err != nil {
		t.Fatal(err)
	}
	resp, err := stream.Recv()
	if err != nil {
		t.Fatalf("asking the server to describe %s: %v", service, err)
	}
	var set descriptorpb.FileDescriptorSet
	for _, raw := range resp.GetFileDescriptorResponse().GetFileDescriptorProto() {
		file := new(descriptorpb.FileDescriptorProto)
		if err := proto.Unmarshal(raw, file); err != nil {
			t.Fatal(err)
		}
		set.File = append(set.File, file)
	}
	files, err := protodesc.NewFiles(&set)
	if err != nil {
		t.Fatalf("%s is described as %v: %v", service, resp, err)
	}
	found, err := files.FindDescriptorByName(protoreflect.FullName(service))
	if err != nil {
		t.Fatal(err)
	}
	descriptor, ok := found.(protoreflect.ServiceDescriptor)
	if !ok {
		t.Fatalf("%s is not a service", service)
	}
	return descriptor
}
