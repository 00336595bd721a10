import Emission
import Recurrences

/// One tensor of a safetensors file: dense, row-major, least significant byte first.
public struct SafeTensor: Hashable, Sendable {
  public var type: ElementKind
  public var shape: [Int]
  public var bytes: [UInt8]

  public init(type: ElementKind, shape: [Int], bytes: [UInt8]) {
    self.type = type
    self.shape = shape
    self.bytes = bytes
  }

  /// The element types that the format has, as it spells them.
  public enum ElementKind: String, Hashable, Codable, Sendable, CaseIterable {
    case F64, F32, F16, BF16
    case F8_E5M2, F8_E4M3
    case I64, I32, I16, I8
    case U64, U32, U16, U8
    case BOOL

    /// Bytes of one element.
    public var size: Int {
      switch self {
      case .F64, .I64, .U64: 8
      case .F32, .I32, .U32: 4
      case .F16, .BF16, .I16, .U16: 2
      case .F8_E5M2, .F8_E4M3, .I8, .U8, .BOOL: 1
      }
    }

    /// A kernel's element type as the format spells it.
    public init(_ type: ElementType) {
      switch type {
      case .f32: self = .F32
      case .bf16: self = .BF16
      case .f16: self = .F16
      case .f64: self = .F64
      }
    }
  }

  /// Bytes of a tensor of that shape; nil for a negative size, or more than an `Int` counts.
  static func byteCount(_ shape: [Int], _ type: ElementKind) -> Int? {
    var count = type.size
    for size in shape {
      let (product, overflows) = count.multipliedReportingOverflow(by: size)
      if overflows || size < 0 { return nil }
      count = product
    }
    return count
  }
}

extension SafeTensor {
  /// A tensor of f32 numbers.
  public init(_ numbers: [Float], shape: [Int]) {
    self.init(type: .F32, shape: shape, bytes: numbers.withUnsafeBytes { Array($0) })
  }

  /// The numbers of an F32 tensor; nil for another type.
  public var floats: [Float]? {
    guard type == .F32 else { return nil }
    return bytes.withUnsafeBytes { bytes in
      (0..<bytes.count / 4).map { bytes.loadUnaligned(fromByteOffset: 4 * $0, as: Float.self) }
    }
  }

  /// The numbers of an I64 or I32 tensor; nil for another type.
  public var integers: [Int]? {
    bytes.withUnsafeBytes { bytes in
      switch type {
      case .I64:
        (0..<bytes.count / 8).map {
          Int(bytes.loadUnaligned(fromByteOffset: 8 * $0, as: Int64.self))
        }
      case .I32:
        (0..<bytes.count / 4).map {
          Int(bytes.loadUnaligned(fromByteOffset: 4 * $0, as: Int32.self))
        }
      default: nil
      }
    }
  }
}
