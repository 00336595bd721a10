extension ElementType {
  /// Bits of the significand, the leading one included.
  public var precision: Int {
    switch self {
    case .f32: 24
    case .bf16: 8
    case .f16: 11
    case .f64: 53
    }
  }

  /// The exponent of the smallest normal number.
  var smallestExponent: Int {
    switch self {
    case .f32, .bf16: -126
    case .f16: -14
    case .f64: -1022
    }
  }

  /// The smallest normal number above zero.
  public var smallest: Double { Double(sign: .plus, exponent: smallestExponent, significand: 1) }

  /// The largest finite number.
  public var largest: Double {
    let step = Double(sign: .plus, exponent: 1 - precision, significand: 1)
    return Double(sign: .plus, exponent: 1 - smallestExponent, significand: 2 - step)
  }

  /// The nearest number of this type, ties to even, in one rounding: subnormal numbers are kept, and
  /// what is too large becomes infinity.
  public func rounded(_ number: Double) -> Double {
    guard number.isFinite, number != 0, self != .f64 else { return number }
    let exponent = max(Int(number.exponent), smallestExponent)
    let step = Double(sign: .plus, exponent: exponent - precision + 1, significand: 1)
    let nearest = (number / step).rounded(.toNearestOrEven) * step
    return abs(nearest) <= largest
      ? nearest : Double(signOf: number, magnitudeOf: .infinity)
  }

  /// The bytes of the numbers in memory, each rounded, least significant byte first.
  public func packed(_ numbers: [Double]) -> [UInt8] {
    var bytes: [UInt8] = []
    bytes.reserveCapacity(numbers.count * size)
    for number in numbers {
      let bits = self.bits(number)
      for place in 0..<size { bytes.append(UInt8(truncatingIfNeeded: bits >> (8 * place))) }
    }
    return bytes
  }

  /// The numbers that bytes in memory stand for.
  ///
  /// - Precondition: a whole number of elements; bytes beyond the last whole one are left out.
  public func unpacked(_ bytes: [UInt8]) -> [Double] {
    (0..<bytes.count / size).map { index in
      var bits: UInt64 = 0
      for place in 0..<size { bits |= UInt64(bytes[index * size + place]) << (8 * place) }
      return self == .f64 ? Double(bitPattern: bits) : number(UInt32(bits))
    }
  }

  /// Bits below the exponent.
  private var fractionBits: Int { precision - 1 }
  /// The exponent field of infinity and NaN.
  private var exponentMask: UInt32 { self == .f16 ? 31 : 255 }

  private func bits(_ number: Double) -> UInt64 {
    self == .f64 ? number.bitPattern : UInt64(narrowBits(number))
  }

  private func narrowBits(_ number: Double) -> UInt32 {
    let sign: UInt32 = (number.sign == .minus ? 1 : 0) << (8 * size - 1)
    let special = exponentMask << fractionBits
    // The highest bit of the fraction says that a NaN is quiet.
    if number.isNaN { return sign | special | 1 << (fractionBits - 1) }
    let nearest = abs(rounded(number))
    if nearest.isInfinite { return sign | special }
    let isNormal = nearest >= smallest
    let exponent = isNormal ? Int(nearest.exponent) : smallestExponent
    let step = Double(sign: .plus, exponent: exponent - fractionBits, significand: 1)
    // For a normal number the leading one of the significand adds one to the exponent field.
    return sign + UInt32(exponent - smallestExponent) << fractionBits + UInt32(nearest / step)
  }

  private func number(_ bits: UInt32) -> Double {
    let sign: FloatingPointSign = bits >> (8 * size - 1) & 1 == 1 ? .minus : .plus
    let field = bits >> fractionBits & exponentMask
    let fraction = bits & (1 << fractionBits - 1)
    if field == exponentMask {
      return fraction == 0 ? Double(sign: sign, exponent: 0, significand: .infinity) : .nan
    }
    let exponent = max(Int(field), 1) - 1 + smallestExponent - fractionBits
    let significand = Double(fraction + (field == 0 ? 0 : 1 << fractionBits))
    return Double(sign: sign, exponent: exponent, significand: significand)
  }
}
