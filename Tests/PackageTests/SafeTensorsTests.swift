import Execution
import Foundation
import Targets
import Testing

@Suite struct SafeTensorsTests {
  /// A folder that goes with the test.
  private final class Folder {
    let path: String
    init() throws { path = try Files.makeUniqueFolder(in: "/tmp", prefix: "sluice-tensors-") }
    deinit { Files.remove(path) }
  }

  /// A file of that header and so many bytes of data; `claimed` is what it says of the header's size.
  private static func file(_ header: String, data: Int, claimed: UInt64? = nil) -> [UInt8] {
    let count = claimed ?? UInt64(header.utf8.count)
    return (0..<8).map { UInt8(truncatingIfNeeded: count >> (8 * $0)) } + Array(header.utf8)
      + [UInt8](repeating: 1, count: data)
  }

  @Test func everyTypeComesBack() throws {
    let folder = try Folder()
    var tensors: [String: SafeTensor] = [:]
    for type in SafeTensor.ElementKind.allCases {
      tensors["the \"\(type.rawValue)\" é\n"] = SafeTensor(
        type: type, shape: [2, 3], bytes: (0..<6 * type.size).map { UInt8($0) })
    }
    tensors["scalar"] = SafeTensor(type: .F32, shape: [], bytes: [0, 0, 128, 63])
    tensors["empty"] = SafeTensor(type: .F16, shape: [3, 0, 2], bytes: [])
    let path = "\(folder.path)/all.safetensors"
    try SafeTensors.write(tensors, to: path)
    #expect(try SafeTensors.read(path) == tensors)
    #expect(tensors["scalar"]?.floats == [1])
    try SafeTensors.write([:], to: path)
    #expect(try SafeTensors.read(path).isEmpty)
    #expect(Files.names(in: folder.path) == ["all.safetensors"])
  }

  @Test func everyTensorIsAligned() throws {
    let folder = try Folder()
    let path = "\(folder.path)/a"
    try SafeTensors.write(
      [
        "a": SafeTensor(type: .U8, shape: [3], bytes: [1, 2, 3]),
        "b": SafeTensor([1, 2], shape: [2]),
        "c": SafeTensor(type: .I64, shape: [1], bytes: [5, 0, 0, 0, 0, 0, 0, 0]),
      ], to: path)
    let bytes = try Files.read(path)
    let header = Int(bytes[0]) + Int(bytes[1]) << 8
    #expect((8 + header) % 8 == 0)
    #expect(bytes[8 + header] == 5)
    #expect(try SafeTensors.read(path)["c"]?.integers == [5])
  }

  @Test func metadataAndPaddingAreRead() throws {
    let folder = try Folder()
    let header =
      #"{ "__metadata__": {"format": "np"}, "x\u00e9\ud83d\ude00": "#
      + #"{"data_offsets": [0, 4], "dtype": "F32", "shape": [1]} }      "#
    try Files.write(Self.file(header, data: 4), to: "\(folder.path)/a")
    #expect(try SafeTensors.read("\(folder.path)/a").keys.first == "xé😀")
  }

  static let lies: [(header: String, data: Int, says: String)] = [
    (#"{"x":{"dtype":"F32","shape":[2],"data_offsets":[0,4]}}"#, 4, "4 bytes, and F32"),
    (#"{"x":{"dtype":"F32","shape":[1],"data_offsets":[0,8]}}"#, 8, "8 bytes, and F32"),
    (#"{"x":{"dtype":"F32","shape":[-1],"data_offsets":[0,4]}}"#, 4, "other than sizes"),
    (#"{"x":{"dtype":"F32","shape":[1.5],"data_offsets":[0,4]}}"#, 4, "other than sizes"),
    (#"{"x":{"dtype":"F32","shape":["1"],"data_offsets":[0,4]}}"#, 4, "other than sizes"),
    (
      #"{"x":{"dtype":"F32","shape":[99999999999999999999],"data_offsets":[0,4]}}"#, 4,
      "other than sizes"
    ),
    (
      #"{"x":{"dtype":"F32","shape":[4294967296,4294967296],"data_offsets":[0,0]}}"#, 0,
      "too large to be true"
    ),
    (
      #"{"x":{"dtype":"U8","shape":[4294967296,4294967296,0],"data_offsets":[0,0]}}"#, 0,
      "too large to be true"
    ),
    (#"{"x":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}"#, 3, "cut short"),
    (#"{"x":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}"#, 5, "1 bytes after its last"),
    (#"{"x":{"dtype":"F32","shape":[1],"data_offsets":[4,0]}}"#, 4, "no range"),
    (#"{"x":{"dtype":"F32","shape":[1],"data_offsets":[0]}}"#, 4, "no range"),
    (#"{"x":{"dtype":"F32","shape":[1],"data_offsets":[2,6]}}"#, 6, "nothing accounts"),
    (
      #"{"a":{"dtype":"U8","shape":[4],"data_offsets":[0,4]},"#
        + #""x":{"dtype":"U8","shape":[4],"data_offsets":[2,6]}}"#, 6, "overlaps"
    ),
    (
      #"{"a":{"dtype":"U8","shape":[2],"data_offsets":[0,2]},"#
        + #""x":{"dtype":"U8","shape":[2],"data_offsets":[3,5]}}"#, 5, "nothing accounts"
    ),
    (#"{"x":{"dtype":"F33","shape":[1],"data_offsets":[0,4]}}"#, 4, "type 'F33'"),
    (#"{"x":{"dtype":4,"shape":[1],"data_offsets":[0,4]}}"#, 4, "wrong kind"),
    (#"{"x":{"shape":[1],"data_offsets":[0,4]}}"#, 4, "lacks"),
    (#"{"x":{"dtype":"F32","shape":[1],"data_offsets":[0,4],"y":1}}"#, 4, "field 'y'"),
    (#"{"x":[1]}"#, 0, "no object"),
  ]

  @Test(arguments: lies.indices)
  func aLieIsNamed(index: Int) throws {
    let folder = try Folder()
    let path = "\(folder.path)/lie.safetensors"
    let lie = Self.lies[index]
    try Files.write(Self.file(lie.header, data: lie.data), to: path)
    let error = #expect(throws: SluiceError.self) { try SafeTensors.read(path) }
    let message = error?.message ?? ""
    #expect(error?.kind == .badInput)
    #expect(message.contains(path) && message.contains(lie.says), "\(message)")
    if lie.data != 5 || lie.says != "1 bytes after its last" {
      #expect(message.contains("'x'"), "\(message)")
    }
  }

  static let damaged: [[UInt8]] = [
    [], [1, 2, 3], file("{}", data: 0, claimed: 3), file("{}", data: 0, claimed: 100_000_001),
    file("{}", data: 0, claimed: .max), file("", data: 0), file("[]", data: 0),
    file(" {}", data: 0),
    file(#"{"a":{"dtype":"U8","#, data: 0), file("{}}", data: 0), file(#"{"a" 1}"#, data: 0),
    file(#"{"a":nope}"#, data: 0), file(#"{"\ud800":1}"#, data: 0), file(#"{"\q":1}"#, data: 0),
    file(String(repeating: #"{"a":"#, count: 100_000), data: 0),
    file(
      #"{"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1]},"#
        + #""a":{"dtype":"U8","shape":[1],"data_offsets":[1,2]}}"#, data: 2),
    file(#"{"a":{"dtype":"U8","dtype":"I8","shape":[1],"data_offsets":[0,1]}}"#, data: 1),
    [2, 0, 0, 0, 0, 0, 0, 0, UInt8(ascii: "{"), 0xff],
  ]

  @Test(arguments: damaged.indices)
  func whatIsNoSuchFileIsRefused(index: Int) throws {
    let folder = try Folder()
    let path = "\(folder.path)/damaged"
    try Files.write(Self.damaged[index], to: path)
    let error = #expect(throws: SluiceError.self) { try SafeTensors.read(path) }
    #expect(error?.kind == .badInput)
    #expect(error?.message.contains("\(path) is no safetensors file") == true)
  }

  @Test func failuresOfFiles() throws {
    let folder = try Folder()
    #expect(throws: SluiceError.self) { try SafeTensors.read("\(folder.path)/none") }
    #expect(throws: SluiceError.self) { try SafeTensors.read(folder.path) }
    #expect(throws: SluiceError.self) { try SafeTensors.write([:], to: folder.path) }
    #expect(throws: SluiceError.self) { try SafeTensors.write([:], to: "\(folder.path)/a/b") }
    #expect(throws: SluiceError.self) {
      try SafeTensors.write(
        ["a": SafeTensor(type: .F32, shape: [2], bytes: [0])], to: "\(folder.path)/a")
    }
    #expect(Files.names(in: folder.path).isEmpty)
  }
}
