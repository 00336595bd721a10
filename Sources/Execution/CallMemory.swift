import Emission
import Recurrences

/// The argument struct in memory, by the offsets of docs/abi.md.
final class ArgumentBlock {
  let memory: UnsafeMutableRawPointer
  private let size: Int

  /// A block of zeros, but for the version and its own size.
  ///
  /// - Parameter hasSnapshots: whether two fields follow the inputs.
  init(inputs: Int, hasSnapshots: Bool) {
    size = 112 + 8 * inputs + (hasSnapshots ? 16 : 0)
    memory = .allocate(byteCount: size, alignment: 64)
    memory.initializeMemory(as: UInt8.self, repeating: 0, count: size)
    set(UInt32(KernelManifest.currentABI), at: 0)
    set(UInt32(size), at: 4)
  }

  deinit { memory.deallocate() }

  func set<T: BitwiseCopyable>(_ value: T, at offset: Int) {
    memory.storeBytes(of: value, toByteOffset: offset, as: T.self)
  }

  func set(_ pointer: UnsafeRawPointer?, at offset: Int) {
    set(UInt(bitPattern: pointer), at: offset)
  }

  /// The factor on the output, of as many bytes as a sum beside tensors of `type`.
  func set(scale: Double, of type: ElementType) {
    if type.sums == .f64 { set(scale, at: 64) } else { set(Float(scale), at: 64) }
  }

  /// The sizes, and the number of packed sequences.
  func set(_ shape: ProblemShape) {
    set(Int64(shape.batch), at: 8)
    set(Int64(shape.length), at: 16)
    set(Int64(shape.queryHeads), at: 24)
    set(Int64(shape.heads), at: 32)
    set(Int64(shape.cumulativeLengths.map { $0.count - 1 } ?? 0), at: 40)
  }

  /// An empty array may have no address; the library asks for one all the same, and reads nothing.
  func fillEmpty(with pointer: UnsafeMutableRawPointer) {
    for offset in stride(from: 104, to: size, by: 8)
    where memory.load(fromByteOffset: offset, as: UInt.self) == 0 {
      set(UnsafeRawPointer(pointer), at: offset)
    }
  }
}

/// Calls with the addresses of all arrays; they hold for the call only.
func withPointers<T>(
  _ arrays: [[UInt8]], _ body: ([UnsafeRawPointer?]) throws -> T
) rethrows -> T {
  func descend(_ place: Int, _ pointers: [UnsafeRawPointer?]) throws -> T {
    guard place < arrays.count else { return try body(pointers) }
    return try arrays[place].withUnsafeBytes {
      try descend(place + 1, pointers + [$0.baseAddress])
    }
  }
  return try descend(0, [])
}

/// Calls with the address of an array that may be absent.
func withOptional<Element, T>(
  _ array: [Element]?, _ body: (UnsafeRawPointer?) throws -> T
) rethrows -> T {
  guard let array else { return try body(nil) }
  return try array.withUnsafeBytes { try body($0.baseAddress) }
}
