import Foundation
import Subprocess
import Testing

/// The runner, on a small library that behaves or misbehaves as its case asks.
@Suite("Runner", .serialized)
struct RunnerTests {
  /// What the library does, by the first argument.
  enum Behaviour: Int64, CaseIterable {
    case right, writesPastTheEnd, writesBefore, writesInput, writesArguments, differs, aborts, fails
    case readsPastTheEnd
  }

  static let library = """
    #include <stdint.h>
    #include <stdlib.h>
    typedef struct { int64_t behaviour; const float *x; float *y; int64_t n; } Args;
    int32_t entry(const void *p) {
      const Args *a = p;
      static int calls;
      switch (a->behaviour) {
        case 0: for (int64_t i = 0; i < a->n; i++) a->y[i] = 2 * a->x[i]; return 0;
        case 1: a->y[a->n] = 1; return 0;
        case 2: a->y[-1] = 1; return 0;
        case 3: ((float *)(uintptr_t)a->x)[0] = 1; return 0;
        case 4: ((Args *)(uintptr_t)a)->n = 1; return 0;
        case 5: a->y[0] = (float)calls++; return 0;
        case 6: abort();
        case 8: return *(volatile const int32_t *)(a->x + a->n);
      }
      return -7;
    }
    """

  @Test("Answers, damage and crashes are reported")
  func reports() async throws {
    let folder = FileManager.default.temporaryDirectory.appending(
      path: "runner-\(UUID().uuidString)")
    try FileManager.default.createDirectory(at: folder, withIntermediateDirectories: true)
    defer { try? FileManager.default.removeItem(at: folder) }
    let source = folder.appending(path: "library.c").path
    let library = folder.appending(path: "library.so").path
    let runner = folder.appending(path: "runner").path
    let cases = folder.appending(path: "cases.bin")
    let results = folder.appending(path: "results.bin")
    try Self.library.write(toFile: source, atomically: true, encoding: .utf8)
    for arguments in [
      ["-fPIC", "-shared", source, "-o", library],
      [
        "-std=c11", "-O2", VocabularyTests.templates.appending(path: "runner.c").path, "-ldl", "-o",
        runner,
      ],
    ] {
      let compiled = try await VocabularyTests.run([VocabularyTests.compiler] + arguments)
      try #require(compiled.succeeded, "\(compiled.text)")
    }

    /// The last record but the end, as numbers: tag, case, then what the tag says.
    func outcome(_ behaviour: Behaviour, flush: Bool) async throws -> [UInt32] {
      try Self.file(behaviour, flush: flush).write(to: cases)
      _ = try await VocabularyTests.run(
        [
          runner, library, cases.path, results.path, "--repeat", "2", "--time", "3", "--rotate",
          "2",
        ])
      let bytes = try Data(contentsOf: results)
      try #require(bytes.prefix(8) == Data("SLRESUL1".utf8))
      let words = bytes.dropFirst(8).withUnsafeBytes { raw in
        stride(from: 0, to: raw.count, by: 4).map {
          raw.loadUnaligned(fromByteOffset: $0, as: UInt32.self)
        }
      }
      #expect(Array(words.prefix(2)) == [1, 9], "the call is announced")
      return Array(words.dropFirst(2))
    }

    let none = UInt32.max
    let right = try await outcome(.right, flush: true)
    #expect(right.prefix(9) == [2, 9, 0, 0, none, 1, 1, 12, 0])
    #expect(right.dropFirst(9).prefix(3).map(Float.init(bitPattern:)) == [0, 2, 4])
    #expect(right[12] == 3, "three timings")
    #expect(right.suffix(2) == [5, none])
    // With the buffer's end flush against the guard, and with room after it.
    #expect(try await outcome(.writesPastTheEnd, flush: true).prefix(3) == [3, 9, 11])
    #expect(try await outcome(.writesPastTheEnd, flush: false).prefix(5) == [2, 9, 0, 2, 1])
    #expect(try await outcome(.readsPastTheEnd, flush: true).prefix(3) == [3, 9, 11])
    #expect(try await outcome(.writesBefore, flush: true).prefix(5) == [2, 9, 0, 1, 1])
    #expect(try await outcome(.writesInput, flush: true).prefix(3) == [3, 9, 11])
    #expect(try await outcome(.writesArguments, flush: true).prefix(3) == [3, 9, 11])
    #expect(try await outcome(.differs, flush: true).prefix(5) == [2, 9, 0, 4, 1])
    #expect(try await outcome(.aborts, flush: true).prefix(3) == [3, 9, 6])
    #expect(
      try await outcome(.fails, flush: true).prefix(5) == [2, 9, UInt32(bitPattern: -7), 0, none])

    // A cases file that was cut short is refused, wherever the cut is.
    let whole = Self.file(.right, flush: true)
    for length in [0, 7, 11, 12, 20, whole.count - 1] {
      try whole.prefix(length).write(to: cases)
      let refused = try await VocabularyTests.run([runner, library, cases.path, results.path])
      #expect(
        !refused.succeeded && refused.text.contains("truncated"), "\(length): \(refused.text)")
    }
  }

  /// A cases file of one case, 9: three floats in, three out.
  static func file(_ behaviour: Behaviour, flush: Bool) -> Data {
    var data = Data("SLCASES1".utf8)
    func put<T: FixedWidthInteger>(_ value: T) {
      withUnsafeBytes(of: value.littleEndian) { data.append(contentsOf: $0) }
    }
    let name = "entry"
    let alignment: UInt32 = flush ? 52 : 0
    put(UInt32(1))
    put(UInt32(9))
    put(UInt32(name.utf8.count))
    data.append(contentsOf: name.utf8)
    put(UInt32(32))
    for word in [behaviour.rawValue, 0, 0, 3] { put(word) }
    put(UInt32(2))
    put(UInt64(12))
    for word in [0, alignment, 8] { put(word) }
    for x in [0, 1, 2] as [Float] { put(x.bitPattern) }
    put(UInt64(12))
    for word in [1, alignment, 16] { put(word) }
    return data
  }
}
