import Emission
import Recurrences

/// How a call ended, and what it left.
struct CallResult: Hashable, Sendable {
  var ending: Ending
  /// What it did beside its outputs, each a sentence's end; empty when nothing.
  var misconduct: [Misconduct] = []
  /// [B, T, query heads, V] whatever the layout, as bytes in the output's type.
  var output: [UInt8] = []
  var finalState: [UInt8]?
  /// The states written out on the way, in their slots.
  var snapshots: [UInt8]?
  /// What a `backward` call gave, by input (and `initial_state`), token tensors as [B, T, heads, D].
  var adjoints: [String: [UInt8]] = [:]
  var nanoseconds: [UInt64] = []

  enum Ending: Hashable, Sendable {
    case returned(Int32)
    /// It took the process with it: how.
    case crashed(String)
    case hung
    case refused(String)

    var description: String {
      switch self {
      case .returned(let code): "returned \(code)"
      case .crashed(let how): how
      case .hung: "ran past its time limit"
      case .refused(let why): "could not be run: \(why)"
      }
    }
  }

  struct Misconduct: Hashable, Sendable {
    enum Kind: String, CaseIterable, Sendable {
      case memory, repetition, mode
      /// The promise that it breaks.
      var promise: String {
        switch self {
        case .memory: "no byte outside the buffers is written"
        case .repetition: "equal inputs give equal bits and codes"
        case .mode: "the floating-point mode is left as it was"
        }
      }
    }
    var kind: Kind
    var detail: String
  }

  func outputNumbers(_ type: ElementType) -> [Double] { type.unpacked(output) }
  func finalStateNumbers(_ type: ElementType) -> [Double]? { finalState.map(type.sums.unpacked) }
}

extension CallResult {
  init(
    _ record: RunnerRecord.Finished, of item: RunnerCase, call: KernelCall,
    _ manifest: KernelManifest
  ) {
    ending = .returned(record.code)
    nanoseconds = record.nanoseconds
    let place = record.buffer.map {
      $0 < item.buffers.count ? item.buffers[$0].name : "the arguments"
    }
    if record.flags.contains(.before) {
      misconduct.append(.init(kind: .memory, detail: "wrote before \(place ?? "a buffer")"))
    }
    if record.flags.contains(.after) {
      misconduct.append(.init(kind: .memory, detail: "wrote after \(place ?? "a buffer")"))
    }
    if record.flags.contains(.unequal) {
      misconduct.append(
        .init(kind: .repetition, detail: "a second call gave other bits in \(place ?? "a buffer")"))
    }
    if record.flags.contains(.returned) {
      misconduct.append(.init(kind: .repetition, detail: "a second call returned something else"))
    }
    if record.flags.contains(.mode) {
      misconduct.append(.init(kind: .mode, detail: "left another floating-point mode"))
    }
    for (index, contents) in record.contents where index < item.buffers.count {
      switch item.buffers[index].name {
      case "o": output = call.canonical(contents, elementSize: manifest.type.size)
      case "final_state": finalState = contents
      case "snapshots": snapshots = contents
      case let name where name.hasPrefix("d_"):
        adjoints[String(name.dropFirst(2))] = call.canonical(
          contents, adjoint: String(name.dropFirst(2)), manifest)
      default: break
      }
    }
  }

  /// The ending of a call in which the process got a signal.
  init(_ crash: RunnerRecord.Crash, of item: RunnerCase) {
    let names: [Int32: String] = [
      4: "an illegal instruction", 5: "a trap", 6: "an abort", 7: "a bus error",
      8: "an arithmetic error", 11: "a segmentation fault",
    ]
    var how = "crashed with \(names[crash.signal] ?? "signal \(crash.signal)")"
    if let index = crash.buffer {
      let isBuffer = index < item.buffers.count
      let name = isBuffer ? item.buffers[index].name : "the argument struct"
      let size = Int64(isBuffer ? item.buffers[index].size : item.arguments.count)
      how +=
        crash.distance >= size
        ? ", \(crash.distance - size) bytes past the end of \(name)"
        : crash.distance < 0
          ? ", \(-crash.distance) bytes before \(name)" : ", at byte \(crash.distance) of \(name)"
    }
    ending = .crashed(how)
  }
}
