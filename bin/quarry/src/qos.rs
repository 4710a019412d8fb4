//! Quality of service: what was typed, over what there was.

use quarry_api_types::QualityOfService;

use crate::arguments::QosOptions;

/// What was typed over `before`; `none` takes one thing away. `None` when nothing was typed.
pub fn changed(before: Option<QualityOfService>, typed: &QosOptions) -> Option<QualityOfService> {
    if typed.is_empty() {
        return None;
    }
    let before = if typed.no_qos { QualityOfService::default() } else { before.unwrap_or_default() };
    fn over<T: PartialEq + Default>(typed: Option<T>, before: Option<T>) -> Option<T> {
        match typed {
            Some(value) => Some(value).filter(|value| *value != T::default()),
            None => before,
        }
    }
    Some(QualityOfService {
        iops_min: over(typed.iops_min.map(|rate| rate.0), before.iops_min),
        iops_max: over(typed.iops_max.map(|rate| rate.0), before.iops_max),
        bytes_per_s_min: over(typed.bandwidth_min.map(|rate| rate.0), before.bytes_per_s_min),
        bytes_per_s_max: over(typed.bandwidth_max.map(|rate| rate.0), before.bytes_per_s_max),
        burst_s: over(typed.burst.map(|window| window.0), before.burst_s),
        weight: over(typed.weight.map(|weight| weight.0 as u32), before.weight),
        latency_target_us: over(typed.latency_target_us.map(|target| target.0), before.latency_target_us),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::values::Number;

    #[test]
    fn what_is_typed_stands_over_what_there_was() {
        let before = QualityOfService { iops_min: Some(5), iops_max: Some(10), ..Default::default() };
        assert_eq!(changed(Some(before.clone()), &QosOptions::default()), None);
        let typed =
            QosOptions { iops_max: Some(Number(20)), iops_min: Some(Number(0)), ..Default::default() };
        let expected = QualityOfService { iops_max: Some(20), ..Default::default() };
        assert_eq!(changed(Some(before.clone()), &typed), Some(expected));
        let none = QosOptions { no_qos: true, weight: Some(Number(7)), ..Default::default() };
        let expected = QualityOfService { weight: Some(7), ..Default::default() };
        assert_eq!(changed(Some(before), &none), Some(expected));
    }
}
