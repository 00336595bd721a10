import Recurrences
extension ElementType { public func rounded(_ x: Double) -> Double { Double(Float(x)) } }
